"""Finding serving engines on this machine without being told of any.

Processes that look like an engine lead to the sockets they listen on. Where the right to see whose
socket is whose is missing, the machine's listeners are crossed with the `--port` of engines'
command lines and with the engines' default ports. An engine in a network of its own (a container)
is looked for where that network's ports are published, and at its addresses that are linked to
ours. Listeners on default ports that no engine is seen behind (a tunnel, a script of one's own) are
asked once, carefully, and listed only when their page is an engine's. What is found is recognised
by its page in the end, not here; what runs and cannot be read is told with the remedy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from collectors.clock import Clock
from collectors.engine.asking import Asking, FindPage
from collectors.engine.launchers import (
    DEFAULT_PORTS,
    FORWARDERS,
    LAUNCHERS,
    Launcher,
    path_of,
    ports_of,
    recognise,
    started_as,
    unix_socket_of,
)
from collectors.engine.listeners import Listener, listeners, listeners_in_files
from collectors.engine.networks import (
    Published,
    addresses_of,
    container_of,
    is_elsewhere,
    is_linked,
    published_ports,
)
from collectors.engine.unread import (
    Unread,
    in_other_network,
    not_listening,
    on_socket_file,
    out_of_sight,
    refused,
    without_page,
)
from collectors.processes import Process, ProcessTable, ancestors, descendants, environment_of, sockets_of

RESCAN_SECONDS = 5.0
_GUESSES = 4
"""Listeners of one engine that are asked when neither its command line nor its defaults name its port."""
_CLIMB = 4
"""Generations up from an engine's worker in which the server that started it is looked for."""
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
class _Look:
    """One look: what there is, and what has come of it so far."""

    processes: Mapping[int, Process]
    listeners: tuple[Listener, ...]
    published: tuple[Published, ...]
    found: dict[tuple[str, int], Found] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)
    avoided: set[int] = field(default_factory=set)
    """Inodes of sockets that are not to be asked."""


@dataclass(frozen=True, slots=True)
class _Engine:
    """A process that looks like one, with what its start tells."""

    launcher: Launcher
    root: int
    tree: frozenset[int]
    sockets: frozenset[int] | None
    """Inodes of its sockets; None where they cannot be seen."""
    ports: tuple[int, ...]
    """The port its start names, if it names one."""
    path: str
    scheme: str

    def found(self, url: str) -> Found:
        return Found(url, self.launcher.engine, self.root, self.tree, self.launcher.switch)


class Discovery:
    """Looks every few seconds, in a thread of its own."""

    def __init__(
        self,
        publish: Callable[[tuple[Found, ...]], None],
        clock: Clock,
        *,
        find_page: FindPage | None,
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
        self._asking = Asking(find_page, clock)
        self._listening = listening
        self._proc = proc
        self._rescan = rescan
        self._own_pid = os.getpid() if own_pid is None else own_pid
        self._table = ProcessTable(proc)
        self._judged: dict[int, tuple[Process, Launcher | None]] = {}
        self._holders: dict[int, int | None] = {}
        self._stop = threading.Event()
        self._problem: str | None = None
        self._unread: tuple[Unread, ...] = ()

    @property
    def problem(self) -> str | None:
        """Why nothing can be found, in one line; None when looking works."""
        return self._problem

    @property
    def unread(self) -> tuple[Unread, ...]:
        """Engines of the last look that run and were not found, and why. Empty where nobody is asked."""
        return self._unread

    def start(self) -> None:
        threading.Thread(target=self._run, name="discovery", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def scan(self) -> tuple[Found, ...]:
        """One look. Takes milliseconds, more when a new listener has to be asked."""
        processes = self._table.refresh()
        look = _Look(processes, self._listening(), published_ports(processes))
        for root, launcher in self._engines(processes):
            self._look_at(root, launcher, look)
        self._look_for_unseen(look)
        self._asking.end_of_look()
        self._unread = tuple(look.unread) if self._asking.may_ask else ()
        return tuple(look.found.values())

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
        servers: dict[int, Launcher] = {}
        for pid, launcher in recognised.items():
            above = recognised.keys() & ancestors(processes, pid)
            # A node's agent is above every engine on it, and is not theirs.
            if not any(recognised[one].certain for one in above):
                servers.setdefault(self._server_of(pid, processes) if launcher.worker else pid, launcher)
        return servers.items()

    def _server_of(self, worker: int, processes: Mapping[int, Process]) -> int:
        """The process that started a worker and listens, where there is one; else the worker itself."""
        pid = worker
        listening = {listener.inode for listener in self._listening()}
        for _ in range(_CLIMB):
            pid = processes[pid].parent
            if pid <= 1 or pid not in processes:
                break
            sockets = sockets_of(self._proc, (pid,))
            if sockets is not None and sockets & listening:
                return pid
        return worker

    def _look_at(self, root: int, launcher: Launcher, look: _Look) -> None:
        arguments = look.processes[root].arguments
        tree = descendants(look.processes, root)
        sockets = sockets_of(self._proc, tree)
        if launcher.refusal is not None:
            look.unread.append(refused(launcher, root))
            look.avoided |= sockets or set()
            return
        if (file := unix_socket_of(launcher, arguments)) is not None:
            look.unread.append(on_socket_file(launcher, root, file))
            return
        environment = environment_of(self._proc, root, launcher.port_variables)
        engine = _Engine(
            launcher,
            root,
            tree,
            sockets,
            ports_of(launcher, arguments, environment),
            path_of(launcher, arguments),
            "https" if any(argument.partition("=")[0] in _TLS_FLAGS for argument in arguments) else "http",
        )
        why = self._look_elsewhere(engine, look) if is_elsewhere(self._proc, root) else self._look_here(engine, look)
        if why is not None and launcher.certain:
            look.unread.append(why)

    def _look_here(self, engine: _Engine, look: _Look) -> Unread | None:
        """Find its page in this network; or why there is none."""
        candidates = self._candidates(engine, look.listeners)
        is_found = False
        for listener, sure in candidates:
            base = f"{engine.scheme}://{listener.host}:{listener.port}"
            key = (listener.host, listener.port)
            is_known = sure and engine.launcher.certain
            url = base + engine.path if is_known else self._asking.ask(base, listener.inode, (engine.path,))
            if url is not None:
                look.found.setdefault(key, engine.found(url))
                is_found = True
                if not sure:
                    break  # the rest is for the engine's own workers
        if is_found:
            return None
        if engine.sockets is None and not engine.ports:
            return out_of_sight(engine.launcher, engine.root)
        if not candidates:
            return not_listening(engine.launcher, engine.root, engine.ports)
        return without_page(engine.launcher, engine.root, [listener.port for listener, _ in candidates])

    def _candidates(self, engine: _Engine, every: Iterable[Listener]) -> list[tuple[Listener, bool]]:
        """Listeners that may serve this engine's page, and whether one need not be asked first."""
        ports = engine.ports or engine.launcher.ports
        if engine.sockets is None:
            return [(listener, bool(engine.ports)) for listener in every if listener.port in ports]
        own = [listener for listener in every if listener.inode in engine.sockets]
        expected = [(listener, True) for listener in own if listener.port in ports]
        if expected:
            return expected
        # Engines also listen for their own workers; what the root itself listens on comes first.
        first = sockets_of(self._proc, (engine.root,)) or frozenset()
        own.sort(key=lambda listener: listener.inode not in first)
        return [(listener, False) for listener in own[:_GUESSES]]

    def _look_elsewhere(self, engine: _Engine, look: _Look) -> Unread | None:
        """Find the page of an engine in another network namespace from this one; or why that cannot be."""
        inside = listeners_in_files(f"{self._proc}/{engine.root}")
        own = [listener for listener, _ in self._candidates(engine, inside)]
        if not own and engine.sockets is None and not engine.ports:
            own = list(inside[:_GUESSES])  # whoever shares a container's network is part of it
        if not own:
            return not_listening(engine.launcher, engine.root, engine.ports)
        addresses = addresses_of(self._proc, engine.root)
        asked: list[str] = []
        for listener in own:
            for host, port in self._ways_to(listener, addresses, look):
                base = f"{engine.scheme}://{host}:{port}"
                url = self._asking.ask(base, listener.inode, (engine.path,))
                if url is not None:
                    look.found.setdefault((host, port), engine.found(url))
                    return None
                asked.append(base + engine.path)
        return in_other_network(
            engine.launcher,
            engine.root,
            container=container_of(self._proc, engine.root),
            port=own[0].port,
            addresses=addresses,
            asked=asked,
            loopback_only=all(listener.is_loopback for listener in own),
        )

    def _ways_to(self, listener: Listener, addresses: Collection[str], look: _Look) -> Iterable[tuple[str, int]]:
        """Hosts and ports of this network where a listener of another one may be reached, likely ones first."""
        for one in look.published:
            if one.port == listener.port and one.address in addresses:
                yield "127.0.0.1", one.host_port
        if not listener.is_loopback:
            for address in addresses if listener.is_everywhere else (listener.address,):
                if address in addresses and is_linked(self._proc, address):
                    yield address, listener.port
        # Publishers that do not say what they forward mostly keep the number.
        if any(here.port == listener.port for here in look.listeners):
            yield "127.0.0.1", listener.port

    def _look_for_unseen(self, look: _Look) -> None:
        """Ask the listeners on default ports, and what is published from such, that no engine was found behind."""
        published = {one.host_port for one in look.published if one.port in DEFAULT_PORTS}
        taken = {port for _, port in look.found}
        for listener in look.listeners:
            is_usual = listener.port in DEFAULT_PORTS or listener.port in published
            if not is_usual or listener.port in taken or listener.inode in look.avoided:
                continue
            key = (listener.host, listener.port)
            page = self._asking.ask(f"http://{listener.host}:{listener.port}", listener.inode, _USUAL_PATHS)
            if page is not None and key not in look.found:
                holder = self._holder(listener.inode, look.processes)
                tree = descendants(look.processes, holder) if holder is not None else frozenset()
                look.found[key] = Found(page, None, holder, tree)

    def _holder(self, inode: int, processes: Mapping[int, Process]) -> int | None:
        """The process that listens, if it lets itself be seen and does not do so for another.

        Looks into every process: once an engine.
        """
        if self._holders.get(inode, -1) not in processes:
            self._holders = {inode: holder for inode, holder in self._holders.items() if holder in processes}
            self._holders[inode] = next(
                (pid for pid in processes if inode in (sockets_of(self._proc, (pid,)) or ())), None
            )
        holder = self._holders[inode]
        return None if holder is None or started_as(processes[holder].arguments) in FORWARDERS else holder
