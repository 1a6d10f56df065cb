"""What `export` and `record` keep running, and how it follows the configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from dashboard.commands.common import CommandFailed, all_is_loaded
from dashboard.commands.log import OURSELVES, Log, Narrator
from dashboard.commands.outputs import Page, Recordings, make_server, open_recorder, serve_page, server_options
from dashboard.config_schema import KINDS
from dashboard.learned import LearnedCosts
from dashboard.session import LiveSession, Sink

if TYPE_CHECKING:
    from collectors.phase.label import Labeller
    from collectors.sources import SourceStatus
    from dashboard.config import Config
    from exporters.recorder import Recorder
    from exporters.server import MetricsServer

_SERVER = "server"


class Daemon:
    """A session without a screen: measured, recorded where a directory is named, and served where that is asked for.

    All methods are for the main thread.
    """

    def __init__(self, config: Config, log: Log, *, serves: bool) -> None:
        """Opens what is written to and listened on. Raises CommandFailed when that cannot be had."""
        self._config = config
        self._log = log
        self._closing = ExitStack()
        with self._closing:  # undone when something of this fails
            self._learned = LearnedCosts.of_user()
            self._closing.callback(self._learned.close)
            self._labeller: Labeller = self._learned.labeller()
            self._page: Page | None = self._serve(config) if serves else None
            self._closing.callback(self._stop_serving)
            # A page is worth serving also while nothing can be recorded; the log says so.
            self.recordings = Recordings(self._record(config, must_work=not serves), self._labeller)
            self._closing.callback(self.recordings.close)
            sinks: list[Sink] = [self.recordings, self._learned]
            if self._page is not None:
                sinks.insert(0, self._page.sink)
            self._session = LiveSession(config, sinks, labeller=self._labeller)
            if self._page is not None:
                self._page.sink.watch(self._session.health)
            self._closing = self._closing.pop_all()
        self._narrator = Narrator(self._statuses, log.line)

    @property
    def url(self) -> str | None:
        """Where the page is served."""
        return self._page.address.url if self._page is not None else None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measures meanwhile, and leaves everything finished."""
        with self._closing:
            self._session.start()
            self._closing.callback(self._session.stop)
            all_is_loaded()
            yield

    def look(self) -> None:
        """Tell the log what has changed. For every second or so."""
        self._narrator.look()

    def reload(self, load: Callable[[], Config]) -> None:
        """Take up what `load` gives, or tell the log all that is wrong with it and go on as before.

        Raises nothing of what `load` or the new configuration may be found wanting in: CommandFailed is told.
        """
        try:
            changed = self._take_up(load())
        except CommandFailed as failure:
            for line in str(failure).splitlines():
                self._log.error("configuration", line.strip())
            self._log.error("configuration", "not taken up; the one before stays in force")
            return
        self._log.info("configuration", f"read anew; {f'changed: {changed}' if changed else 'nothing changed'}")

    def _take_up(self, config: Config) -> str:
        """Everything that can fail comes before anything that cannot be undone."""
        before = self._config
        with ExitStack() as undoing:
            server = self._new_server(config)
            if server is not None:
                undoing.callback(server.stop)
            with self._session.between_ticks():
                if config.record.directory != before.record.directory:
                    self.recordings.let_go(config.record.directory)
                    self.recordings.replace(self._record(config, must_work=True))
            undoing.pop_all()
        self._config = config
        self._log.format = config.log.format
        self._limit(config)
        if self._page is not None:
            self._page.sink.pods = config.server.pod_labels
            if server is not None:
                left, self._page.server, self._page.address = self._page.server, server, server.start_in_thread()
                left.stop()
                self._log.info(OURSELVES, f"serving {self._page.address.url}metrics")
        self._session.reconfigure(config)
        return ", ".join(key for key in KINDS if _value(config, key) != _value(before, key))

    def _new_server(self, config: Config) -> MetricsServer | None:
        """A server as the configuration wants it, listening already; None where the one there is will do."""
        page, server = self._page, self._config.server
        if page is None or server_options(config.server) == server_options(server):
            return None
        listeners = page.server.listeners() if config.server.listen == server.listen else ()
        return make_server(page.sink, config, self._warn, self._inform, listeners)

    def _limit(self, config: Config) -> None:
        recorder = self.recordings.current
        if recorder is not None:
            recorder.limit(byte_cap=config.record.byte_cap, age_cap_seconds=config.record.age_cap)

    def _serve(self, config: Config) -> Page:
        return serve_page(config, self._warn, self._inform)

    def _stop_serving(self) -> None:
        if self._page is not None:
            self._page.server.stop()

    def _record(self, config: Config, *, must_work: bool) -> Recorder | None:
        """A recorder as the configuration wants it. Raises CommandFailed when somebody else records there.

        And, where it must work, when nothing can be written there now; otherwise it will try again.
        """
        directory = config.record.directory
        if directory is None:
            return None
        recorder = open_recorder(config, directory, self._labeller)
        if must_work and (problem := recorder.status) is not None:
            recorder.close()
            raise CommandFailed(problem)
        self._log.info(OURSELVES, f"recording into {directory}")
        return recorder

    def _statuses(self) -> list[SourceStatus]:
        return [*self._session.status(), *self.recordings.status(), *self._learned.status()]

    def _warn(self, message: str) -> None:
        self._log.warning(_SERVER, message)

    def _inform(self, message: str) -> None:
        self._log.info(_SERVER, message)


def _value(config: Config, key: str) -> object:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)
