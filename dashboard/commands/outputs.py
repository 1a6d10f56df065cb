"""Where a session's intervals go besides a screen: a recording, a Prometheus page. Shared by commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dashboard import __version__
from dashboard.commands.common import CommandFailed, narrate

if TYPE_CHECKING:
    from collectors.phase.label import Labeller
    from collectors.sources import SourceStatus
    from dashboard.config import Config, Server
    from exporters.listening import BoundAddress
    from exporters.prometheus import PrometheusSink
    from exporters.recorder import Recorder
    from exporters.server import MetricsServer, ServerOptions


def open_recorder(config: Config, directory: Path, labeller: Labeller) -> Recorder:
    """A recorder into `directory`, with the state of a labeller that had no interval yet. Raises CommandFailed."""
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


@dataclass(frozen=True, slots=True)
class Page:
    """A Prometheus page being served."""

    sink: PrometheusSink
    server: MetricsServer
    address: BoundAddress


def serve_page(config: Config) -> Page:
    """Start to serve. Raises CommandFailed when the address or a file of [server] cannot be used."""
    from exporters.prometheus import PrometheusSink
    from exporters.server import MetricsServer, ServerError

    sink = PrometheusSink(version=__version__)
    server = MetricsServer(sink.page, sink.ready, server_options(config.server), warn=narrate)
    try:
        return Page(sink, server, server.start_in_thread())
    except ServerError as error:
        raise CommandFailed(str(error)) from None


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


@dataclass(slots=True)
class Narrator:
    """Tells a daemon's log when a source fails and when it is well again, and not every second in between.

    "stale" is not told: pages that take longer than an interval are so every other second.
    """

    statuses: Callable[[], Iterable[SourceStatus]]
    tell: Callable[[str], None] = narrate
    _known: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        now = {one.source: one for one in self.statuses() if one.state != "stale"}
        for source, one in now.items():
            before = self._known.get(source, "ok")
            if one.state != before:
                self.tell(f"{source}: {one.reason or one.state}")
            self._known[source] = one.state
