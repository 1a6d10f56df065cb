"""Where a session's intervals go besides a screen: a recording, a Prometheus page. Shared by commands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dashboard import __version__
from dashboard.commands.common import CommandFailed, narrate

if TYPE_CHECKING:
    from socket import socket

    from collectors.model import Tick
    from collectors.phase.label import Labeller
    from collectors.sources import SourceStatus
    from dashboard.config import Config, Server
    from exporters.listening import BoundAddress
    from exporters.prometheus import PrometheusSink
    from exporters.recorder import Recorder
    from exporters.server import MetricsServer, ServerOptions

Tell = Callable[[str], None]
"""Takes a line for a person."""
_SETTLED_NS = 15 * 10**9
"""Labels settle ten seconds after their interval; a little more for those that are late to be handed on."""


def open_recorder(config: Config, directory: Path, labeller: Labeller) -> Recorder:
    """A recorder into `directory`, beginning with a labeller's state between two ticks. Raises CommandFailed."""
    import socket

    from collectors.text import clean
    from exporters.recorder import AlreadyRecording, Recorder

    try:
        return Recorder(
            directory,
            host_name=clean(socket.gethostname()),
            byte_cap=config.record.byte_cap,
            age_cap_seconds=config.record.age_cap,
            version=__version__,
            checkpoint=labeller.checkpoint,
            beginning=labeller.checkpoint(),
        )
    except AlreadyRecording as error:
        raise CommandFailed(str(error)) from None


def close_recorder(recorder: Recorder, labeller: Labeller) -> None:
    """Settle what can be settled, write what is queued, finish the file. Raises CommandFailed when the disk hangs."""
    recorder.settle(labeller.flush())
    if not recorder.close():
        raise CommandFailed(f"{recorder.directory} did not answer in time; what was committed before is safe")


def recorder_status(recorder: Recorder) -> list[SourceStatus]:
    """How the recording is doing, as a source's line."""
    from collectors.sources import SourceStatus

    problem = recorder.status
    if problem is None:
        return [SourceStatus("recording", "ok")]
    reason = problem.removeprefix("recording").lstrip(" :")
    return [SourceStatus("recording", "paused" if reason.startswith("paused") else "impaired", reason)]


class Recordings:
    """A sink: the recording of a session, and one that was left until its last labels have settled."""

    def __init__(self, recorder: Recorder | None, labeller: Labeller) -> None:
        self._labeller = labeller
        self._leaving: list[tuple[Recorder, int]] = []
        self._last = 0
        self._written_before = 0
        self.current = recorder

    @property
    def written(self) -> int:
        """Intervals committed so far."""
        return self._written_before + (self.current.written if self.current is not None else 0)

    def put(self, tick: Tick) -> None:
        """On the sampler's thread."""
        if self.current is not None:
            self.current.put(tick)
        self._last = tick.interval.end
        for recorder, last in tuple(self._leaving):
            recorder.settle(tick.settled)
            if self._last - last > _SETTLED_NS:
                self._leaving.remove((recorder, last))
                threading.Thread(target=recorder.close, name="recording-left", daemon=True).start()

    def replace(self, recorder: Recorder | None) -> None:
        """Record with another one, or not at all, from the next tick on. For who holds `between_ticks`."""
        if self.current is not None:
            self._written_before += self.current.written
            self._leaving.append((self.current, self._last))
        self.current = recorder

    def let_go(self, directory: Path | None) -> None:
        """Finish what was left in a directory at once, for a recording that begins there anew."""
        for recorder, last in tuple(self._leaving):
            if recorder.directory == directory:
                self._leaving.remove((recorder, last))
                recorder.close()

    def status(self) -> list[SourceStatus]:
        return recorder_status(self.current) if self.current is not None else []

    def close(self) -> None:
        """Finish the files, with whatever labels there are. Raises CommandFailed when a disk hangs."""
        recorders = [*(recorder for recorder, _ in self._leaving), *([self.current] if self.current else ())]
        labels = self._labeller.flush() if recorders else ()
        for recorder in recorders:
            recorder.settle(labels)
        hanging = [str(recorder.directory) for recorder in recorders if not recorder.close()]
        if hanging:
            raise CommandFailed(f"{', '.join(hanging)} did not answer in time; what was committed before is safe")


@dataclass(slots=True)
class Page:
    """A Prometheus page being served."""

    sink: PrometheusSink
    server: MetricsServer
    address: BoundAddress


def make_page(config: Config) -> PrometheusSink:
    """The page of metrics that the configuration asks for; nobody serves it yet."""
    from exporters.prometheus import PrometheusSink

    return PrometheusSink(version=__version__, pods=config.server.pod_labels)


def make_server(
    sink: PrometheusSink, config: Config, warn: Tell, inform: Tell, listeners: Sequence[socket] = ()
) -> MetricsServer:
    """A server that listens already. Raises CommandFailed when the address or a file of [server] cannot be used.

    `listeners` are sockets that listen at the same address.
    """
    from exporters.server import MetricsServer, ServerError

    options = server_options(config.server)
    server = MetricsServer(sink.page, sink.ready, options, warn=warn, inform=inform, listeners=listeners)
    try:
        server.bind()
    except ServerError as error:
        for listener in listeners:
            listener.close()
        raise CommandFailed(str(error)) from None
    return server


def serve_page(config: Config, warn: Tell = narrate, inform: Tell = narrate) -> Page:
    """Start to serve. Raises CommandFailed when the address or a file of [server] cannot be used."""
    sink = make_page(config)
    server = make_server(sink, config, warn, inform)
    return Page(sink, server, server.start_in_thread())


def server_options(server: Server) -> ServerOptions:
    from exporters.server import ServerOptions

    return ServerOptions(
        host=server.listen.host,
        port=server.listen.port,
        tls_cert=server.tls_cert,
        tls_key=server.tls_key,
        client_ca=server.client_ca,
        basic_auth_file=server.basic_auth_file,
        bearer_token_file=server.bearer_token_file,
        allowed_hosts=server.allowed_hosts,
        max_connections=server.max_connections,
    )
