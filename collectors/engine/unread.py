"""Engines that run on this machine and cannot be read: why, and what a person can do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collectors.engine.catalog import ENGINES_BY_NAME
from collectors.engine.launchers import Launcher

_NAMED = "name its page with --engine"


@dataclass(frozen=True, slots=True)
class Unread:
    """One such engine. `starting`: it may be that it only has not come so far yet.

    `ports` are those it listens on, as far as they can be seen: naming one of them answers the hint.
    """

    engine: str
    root: int
    reason: str
    remedy: str | None = None
    ports: tuple[int, ...] = ()
    starting: bool = False

    @property
    def title(self) -> str:
        known = ENGINES_BY_NAME.get(self.engine)
        return known.title if known else self.engine

    def __str__(self) -> str:
        return f"{self.title} (pid {self.root}) {self.reason}"


def refused(launcher: Launcher, root: int) -> Unread:
    """One that is not read on principle, or has nothing to read."""
    return Unread(launcher.engine, root, launcher.refusal or "")


def on_socket_file(launcher: Launcher, root: int, path: str) -> Unread:
    return Unread(launcher.engine, root, f"listens on the socket file {path}, not on a port", "give it a port")


def not_listening(launcher: Launcher, root: int, ports: Sequence[int]) -> Unread:
    where = f" on port {_listed(ports)}" if ports else ""
    reason = f"does not listen{where} yet"
    if launcher.worker:
        reason += ", or works without a server"
    return Unread(launcher.engine, root, reason, starting=True)


def out_of_sight(launcher: Launcher, root: int) -> Unread:
    """Another user's, whose sockets are not for this user to see."""
    usual = f", and is not on its usual port {_listed(launcher.ports)}" if launcher.ports else ""
    reason = f"is another user's: where it listens cannot be seen{usual}"
    return Unread(launcher.engine, root, reason, f"run phasetop as root or as that user, or {_NAMED} HOST:PORT")


def without_page(launcher: Launcher, root: int, ports: Sequence[int]) -> Unread:
    """One whose ports were asked and gave no page."""
    start = f"start it with {launcher.switch}, or " if launcher.switch else ""
    reason = f"listens on port {_listed(ports)}, where no engine's metrics page was found"
    return Unread(launcher.engine, root, reason, f"{start}{_NAMED} URL", tuple(ports))


def in_other_network(
    launcher: Launcher,
    root: int,
    *,
    container: str | None,
    port: int,
    addresses: Sequence[str],
    asked: Sequence[str],
    loopback_only: bool,
) -> Unread:
    """One in a network namespace that cannot be reached from here, or gave no page where it was `asked`."""
    network = f"the network of container {container}" if container else "a network of its own"
    where = f"port {port}" if not addresses or loopback_only else f"{addresses[0]}:{port}"
    reason = f"listens on {where} in {network}"
    publish = f"publish the port (docker run -p {port}:{port})"
    if loopback_only:
        return Unread(
            launcher.engine, root, f"{reason}, on loopback only", f"start it with --host 0.0.0.0 and {publish}", (port,)
        )
    if asked:
        return Unread(launcher.engine, root, f"{reason}; no engine's page there", f"{_NAMED} {asked[0]}", (port,))
    remedy = f"{publish} and {_NAMED} 127.0.0.1:{port}, or where else it is reached from here"
    return Unread(launcher.engine, root, f"{reason}, which is not linked to this one", remedy, (port,))


def _listed(ports: Sequence[int]) -> str:
    return ", ".join(str(port) for port in ports[:4]) + (", ..." if len(ports) > 4 else "")
