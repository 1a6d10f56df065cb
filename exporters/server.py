"""The HTTP server of the metrics page: one event loop, as main loop or in a thread of its own.

Every connection has its own handshake and its own deadlines, so a client that says nothing holds
up nobody. Over the connection limit the one longest without a complete request goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import socket
import ssl
from collections.abc import Callable, Sequence
from threading import Thread, current_thread
from typing import Any

from exporters.connection import Connection
from exporters.credentials import Credentials
from exporters.file_watch import FileWatch
from exporters.listening import (
    BoundAddress,
    ServerError,
    ServerOptions,
    is_loopback,
    listen,
    load_credentials,
    tls_context,
)
from exporters.site import Site

__all__ = ["BoundAddress", "MetricsServer", "ServerError", "ServerOptions"]

_SWEEP_SECONDS = 0.5
_STOP_SECONDS = 0.5
_NO_DESCRIPTORS_SECONDS = 0.2
# The loop's own object for a TLS connection has a buffer of 256 KiB and refers to itself, so that it stays after its
# connection until the garbage collector comes round, which counts objects and not bytes.
_TLS_CONNECTIONS_KEPT = 32


class MetricsServer:
    """Serves `page(openmetrics, gzip)` on `/metrics`; `/-/ready` is what `ready()` says.

    Both are called on the server's event loop and must be quick. `warn` gets one line for each
    thing a person should do something about, `inform` one for what goes well. A server serves once:
    after `stop` make another. One that takes the place of another at the same address is given its
    `listeners`: whoever connects meanwhile is served by either.
    """

    def __init__(
        self,
        page: Callable[[bool, bool], bytes],
        ready: Callable[[], bool],
        options: ServerOptions | None = None,
        *,
        warn: Callable[[str], None] | None = None,
        inform: Callable[[str], None] | None = None,
        listeners: Sequence[socket.socket] = (),
    ) -> None:
        self._page = page
        self._ready = ready
        self._options = options or ServerOptions()
        self._warn = warn or logging.getLogger(__name__).warning
        self._inform = inform or logging.getLogger(__name__).info
        self._tls: ssl.SSLContext | None = None
        self._credentials = Credentials()
        self._files = FileWatch(())
        self._sockets: list[socket.socket] = list(listeners)
        self._address: BoundAddress | None = None
        self._connections: set[Connection] = set()
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._stop_requested = False
        self._opened = 0

    def bind(self) -> BoundAddress:
        """Check the options and listen; connections wait until `serve`. Does nothing a second time.

        Raises:
            ServerError: with the problem, the place and the remedy in one sentence.
        """
        if self._address is None:
            self._files = FileWatch(self._options.files)  # looked at before they are read: no change falls in between
            self._tls = tls_context(self._options)
            self._credentials = load_credentials(self._options)
            self._sockets = self._sockets or listen(self._options)
            host, port = self._sockets[0].getsockname()[:2]
            self._address = BoundAddress(host, port, self._tls is not None, is_loopback(self._sockets))
            self._warn_of_exposure(self._address)
        return self._address

    def listeners(self) -> list[socket.socket]:
        """Its listening sockets once more, for a server that takes its place. For who called `bind`."""
        return [listener.dup() for listener in self._sockets]

    async def serve(self) -> None:
        """Serve until `stop` is called or the task is cancelled. Raises ServerError as `bind` does."""
        address = self.bind()
        site = Site(
            self._page,
            self._ready,
            self._credentials,
            self._warn,
            only_local_names=address.loopback,
            allowed_hosts=self._options.allowed_hosts,
        )
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(self._accept(listener, site)) for listener in self._sockets]
        tasks.append(asyncio.create_task(self._sweep()))
        tasks.append(asyncio.create_task(self._reread(site)))
        try:
            if not self._stop_requested:
                await self._stopping.wait()
        finally:
            self._loop = None
            for task in tasks:
                task.cancel()
            self._close_sockets()
            await self._close_connections()
            site.close()

    def start_in_thread(self) -> BoundAddress:
        """Serve in a daemon thread; returns where it listens. Raises ServerError as `bind` does."""
        address = self.bind()
        self._thread = Thread(target=self._run, name="phasetop-metrics", daemon=True)
        self._thread.start()
        return address

    def stop(self) -> None:
        """End serving, from any thread; returns within two seconds. Does nothing a second time."""
        self._stop_requested = True
        loop, stopping, thread = self._loop, self._stopping, self._thread
        if loop is not None and stopping is not None:
            with contextlib.suppress(RuntimeError):  # it ended on its own meanwhile
                loop.call_soon_threadsafe(stopping.set)
        if thread is not None and thread is not current_thread():
            thread.join(2.0)
        elif loop is None:
            self._close_sockets()

    def _run(self) -> None:
        async def serve() -> None:
            asyncio.get_running_loop().set_exception_handler(self._report)
            await self.serve()

        asyncio.run(serve())

    def _report(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._warn(f"metrics server: {context.get('exception') or context.get('message')!r}")

    def _warn_of_exposure(self, address: BoundAddress) -> None:
        where = f"{self._options.host}:{address.port}"
        if address.loopback:
            return
        if not self._credentials.required and self._options.client_ca is None:
            self._warn(
                f"{where} can be reached from other machines without credentials, and the page tells model names and "
                "loads; set basic_auth_file, bearer_token_file or client_ca, or listen on 127.0.0.1"
            )
        elif self._credentials.required and not address.tls:
            self._warn(f"credentials for {where} cross the network in the clear; set tls_cert and tls_key")

    async def _accept(self, listener: socket.socket, site: Site) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await _readable(listener)
            try:
                client, _ = listener.accept()
                client.setblocking(False)
            except BlockingIOError:  # another server at this address was quicker
                continue
            except OSError:  # out of file descriptors: give one back and try again
                self._drop_one()
                await asyncio.sleep(_NO_DESCRIPTORS_SECONDS)
                continue
            if len(self._connections) >= self._options.max_connections:
                self._drop_one()
            connection = Connection(site, self._options, loop.time(), self._connections.discard)
            self._connections.add(connection)
            connection.opening = loop.create_task(self._open(connection, client))
            await asyncio.sleep(0)  # let those already here be read before the next one comes

    async def _open(self, connection: Connection, client: socket.socket) -> None:
        """Make a connection of an accepted socket; with TLS that takes as long as the handshake."""
        loop = asyncio.get_running_loop()
        limits = (
            {"ssl_handshake_timeout": self._options.handshake_seconds, "ssl_shutdown_timeout": 1.0} if self._tls else {}
        )
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.connect_accepted_socket(lambda: connection, client, ssl=self._tls, **limits)
        except OSError:  # the client went away, is no TLS client, showed no valid certificate or took too long
            pass
        finally:
            if not connection.is_open:
                self._connections.discard(connection)
                client.close()
            self._tidy()

    def _tidy(self) -> None:
        """Give the memory of TLS connections back that have ended."""
        self._opened += 1
        if self._tls is not None and self._opened >= _TLS_CONNECTIONS_KEPT:
            self._opened = 0
            gc.collect()

    def _drop_one(self) -> None:
        if self._connections:
            oldest = min(self._connections, key=lambda connection: connection.since)
            self._connections.discard(oldest)
            oldest.abort()

    async def _sweep(self) -> None:
        """End what is past its deadline."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = loop.time()
            for connection in [one for one in self._connections if one.deadline < now]:
                connection.expire()

    async def _reread(self, site: Site) -> None:
        """Takes up certificates and credentials that were written anew; the old ones serve until the new are whole."""
        is_due = False
        told = ""
        while True:
            await asyncio.sleep(self._options.reread_seconds)
            is_due |= self._files.changed()
            if not is_due:
                continue
            try:
                tls, credentials = tls_context(self._options), load_credentials(self._options)
            except ServerError as problem:
                if str(problem) != told:
                    self._warn(f"{problem}; those read before stay in force")
                told = str(problem)
                continue
            is_due, told = False, ""
            self._tls = tls
            self._credentials = credentials
            site.renew(credentials)
            self._inform("certificates and credentials were read anew")

    async def _close_connections(self) -> None:
        for connection in list(self._connections):
            connection.finish()
        loop = asyncio.get_running_loop()
        patience = loop.time() + _STOP_SECONDS
        while self._connections and loop.time() < patience:
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.deadline = math.inf
            connection.abort()
        await asyncio.sleep(0)

    def _close_sockets(self) -> None:
        for listener in self._sockets:
            listener.close()
        self._sockets = []


async def _readable(listener: socket.socket) -> None:
    """Until somebody waits to be accepted. Nobody is accepted here: who is must not be lost when this is cancelled."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    loop.add_reader(listener, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(listener)
