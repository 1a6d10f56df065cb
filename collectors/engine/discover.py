"""Finding serving engines on this machine without being told of any.

Processes that look like an engine lead to the sockets they listen on. Where the right to see whose
socket is whose is missing, the machine's listeners are crossed with the `--port` of engines'
command lines and with the engines' default ports. Listeners on default ports that no engine is
seen behind (a container, a tunnel, a script of one's own) are asked once, carefully, and listed
only when their page is an engine's. What is found is recognised by its page in the end, not here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from collectors.clock import Clock
from collectors.engine.launchers import DEFAULT_PORTS, LAUNCHERS, Launcher, ports_of, recognise
from collectors.engine.listeners import Listener, listeners
from collectors.processes import Process, ProcessTable, ancestors, descendants, sockets_of

RESCAN_SECONDS = 5.0
_RETRY_SECONDS = 60.0
_RETRY_LIMIT_SECONDS = 600.0
_GUESSES = 4
"""Listeners of one engine that are asked when neither its command line nor its defaults name its port."""
_USUAL_PATHS = tuple(dict.fromkeys(launcher.path for launcher in LAUNCHERS))
_TLS_FLAGS = ("--ssl-certfile", "--ssl-keyfile", "--ssl-cert-file", "--ssl-key-file")


@dataclass(frozen=True, slots=True)
class Found:
    """An engine's page, and the processes behind it.

    `engine` is what the command line looks like, None when only the page told; `root` is the
    process the others descend from; `pids` is empty when nobody could be seen behind the socket.
    `switch` is the flag that gives an engine its page where it has none.
    """

    url: str
    engine: str | None = None
    root: int | None = None
    pids: frozenset[int] = frozenset()
    switch: str | None = None


@dataclass(slots=True)
class _Asked:
    """What came of asking a listener that may be anything."""

    inode: int
    page: str | None
    again_at: float
    pause: float = _RETRY_SECONDS
    holder: int | None = None


class Discovery:
    """Looks every few seconds, in a thread of its own."""

    def __init__(
        self,
        publish: Callable[[tuple[Found, ...]], None],
        clock: Clock,
        *,
        find_page: Callable[[str, Sequence[str]], str | None] | None,
        listening: Callable[[], tuple[Listener, ...]] = listeners,
        proc: str = "/proc",
        rescan: float = RESCAN_SECONDS,
        own_pid: int | None = None,
    ) -> None:
        """`find_page` says which of some paths at an address is an engine's page, as a URL; it may block.

        None in its place: listeners that no engine's command line explains are never asked.
        """
        self._publish = publish
        self._clock = clock
        self._find_page = find_page
        self._listening = listening
        self._proc = proc
        self._rescan = rescan
        self._own_pid = os.getpid() if own_pid is None else own_pid
        self._table = ProcessTable(proc)
        self._judged: dict[int, tuple[Process, Launcher | None]] = {}
        self._asked: dict[tuple[str, int], _Asked] = {}
        self._stop = threading.Event()
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Why nothing can be found, in one line; None when looking works."""
        return self._problem

    def start(self) -> None:
        threading.Thread(target=self._run, name="discovery", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def scan(self) -> tuple[Found, ...]:
        """One look. Takes milliseconds, more when a new listener has to be asked."""
        processes = self._table.refresh()
        every = self._listening()
        found: dict[tuple[str, int], Found] = {}
        for root, launcher in self._engines(processes):
            tree = descendants(processes, root)
            arguments = processes[root].arguments
            for listener, sure in self._candidates(root, tree, launcher, arguments, every):
                key = (listener.host, listener.port)
                base = _base_url(listener, arguments)
                url = base + launcher.path if sure else self._ask(listener, base, (launcher.path,))
                if url is not None and key not in found:
                    found[key] = Found(url, launcher.engine, root, tree, launcher.switch)
        taken = {port for _, port in found}
        for listener in every:
            if listener.port in DEFAULT_PORTS and listener.port not in taken:
                self._add_unseen(listener, processes, found)
        self._forget(every)
        return tuple(found.values())

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._publish(self.scan())
                self._problem = None
            except Exception as error:  # whatever /proc holds, the next look is another chance
                self._problem = f"looking for engines failed: {type(error).__name__}: {error}"
            self._clock.wait(self._clock.monotonic() + self._rescan, self._stop)

    def _engines(self, processes: Mapping[int, Process]) -> Iterable[tuple[int, Launcher]]:
        """The topmost process of each engine."""
        for gone in self._judged.keys() - processes.keys():
            del self._judged[gone]
        for pid, process in processes.items():
            if pid not in self._judged or self._judged[pid][0] is not process:
                self._judged[pid] = (process, recognise(process.arguments))
        recognised = {
            pid: launcher
            for pid, (_, launcher) in self._judged.items()
            if launcher is not None and pid != self._own_pid
        }
        for pid, launcher in recognised.items():
            if not recognised.keys() & ancestors(processes, pid):
                yield pid, launcher

    def _candidates(
        self,
        root: int,
        tree: Collection[int],
        launcher: Launcher,
        arguments: tuple[str, ...],
        every: tuple[Listener, ...],
    ) -> list[tuple[Listener, bool]]:
        """Listeners that may serve this engine's page, and whether one need not be asked first."""
        inodes = sockets_of(self._proc, tree)
        named = ports_of(launcher, arguments)
        ports = named or launcher.ports
        if inodes is None:
            return [(listener, bool(named)) for listener in every if listener.port in ports]
        own = [listener for listener in every if listener.inode in inodes]
        expected = [(listener, True) for listener in own if listener.port in ports]
        if expected:
            return expected
        # Engines also listen for their own workers; what the root itself listens on comes first.
        first = sockets_of(self._proc, (root,)) or frozenset()
        own.sort(key=lambda listener: listener.inode not in first)
        return [(listener, False) for listener in own[:_GUESSES]]

    def _ask(self, listener: Listener, base: str, paths: tuple[str, ...]) -> str | None:
        """The engine's page there; asked again after a while, or when the listener is another."""
        if self._find_page is None:
            return None
        now = self._clock.monotonic()
        key = (listener.address, listener.port)
        asked = self._asked.get(key)
        if asked is not None and asked.inode == listener.inode and (asked.page or now < asked.again_at):
            return asked.page
        pause = _RETRY_SECONDS
        if asked is not None and asked.inode == listener.inode:
            pause = min(asked.pause * 2, _RETRY_LIMIT_SECONDS)
        page = self._find_page(base, paths)
        self._asked[key] = _Asked(listener.inode, page, self._clock.monotonic() + pause, pause)
        return page

    def _add_unseen(
        self, listener: Listener, processes: Mapping[int, Process], found: dict[tuple[str, int], Found]
    ) -> None:
        key = (listener.host, listener.port)
        base = f"http://{listener.host}:{listener.port}"
        if key in found or (page := self._ask(listener, base, _USUAL_PATHS)) is None:
            return
        asked = self._asked[(listener.address, listener.port)]
        if asked.holder not in processes:
            asked.holder = self._holder(listener.inode, processes)
        holder = asked.holder
        tree = descendants(processes, holder) if holder is not None else frozenset()
        found[key] = Found(page, None, holder, tree)

    def _holder(self, inode: int, processes: Mapping[int, Process]) -> int | None:
        """The process that listens, if it lets itself be seen. Looks into every process: once an engine."""
        for pid in processes:
            sockets = sockets_of(self._proc, (pid,))
            if sockets is not None and inode in sockets:
                return pid
        return None

    def _forget(self, every: tuple[Listener, ...]) -> None:
        present = {(listener.address, listener.port) for listener in every}
        for key in self._asked.keys() - present:
            del self._asked[key]


def _base_url(listener: Listener, arguments: tuple[str, ...]) -> str:
    tls = any(argument.partition("=")[0] in _TLS_FLAGS for argument in arguments)
    return f"{'https' if tls else 'http'}://{listener.host}:{listener.port}"
