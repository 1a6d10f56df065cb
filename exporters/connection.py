"""One HTTP connection: bytes in, responses out, and a deadline for everything the client does."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

from exporters.listening import ServerOptions
from exporters.request import Request, RequestError, parse_head
from exporters.site import Response, Site, refusal

_END_OF_HEAD = b"\r\n\r\n"
# How long a refused client may go on sending: closing at once would reset the connection and lose the refusal.
_LINGER_SECONDS = 1.0


class Connection(asyncio.Protocol):
    """Serves requests one after another until the client goes, breaks the rules or is too slow.

    `since` is when the last complete request arrived (or the connection began) and `deadline` when
    the client must have done its next part, both in the event loop's seconds. `on_lost` is called
    once when the connection has ended.
    """

    def __init__(self, site: Site, options: ServerOptions, now: float, on_lost: Callable[[Connection], None]) -> None:
        self._site = site
        self._options = options
        self._on_lost = on_lost
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._answering: asyncio.Task[Response] | None = None
        self._scheduled: asyncio.Handle | None = None
        self._write_paused = False
        self._closing = False
        self._finishing = False
        self._has_answered = False
        self.opening: asyncio.Task[None] | None = None
        self.since = now
        self.deadline = math.inf

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"a stream transport is needed, not {type(transport).__name__}")
        self._transport = transport
        address = transport.get_extra_info("peername")
        self._peer = str(address[0]) if address else ""
        self.deadline = self._now() + self._options.request_seconds

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if not self._buffer and not self._is_waiting:
            self.deadline = min(self.deadline, self._now() + self._options.request_seconds)
        self._buffer += data
        self._go_on()

    def pause_writing(self) -> None:
        self._write_paused = True
        self.deadline = self._now() + self._options.write_seconds

    def resume_writing(self) -> None:
        self._write_paused = False
        if not self._closing:
            self._await_request()
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._transport = None
        if self._answering is not None:
            self._answering.cancel()
        self._on_lost(self)

    # What the server calls.

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def finish(self) -> None:
        """End after the request that is on its way, which the first of a connection always is."""
        self._finishing = True
        if self._has_answered and not self._buffer and not self._is_waiting:
            self.close()

    def close(self) -> None:
        """End after what is already written was sent."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()
        elif self.opening is not None:
            self.opening.cancel()

    def abort(self) -> None:
        """End now."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()
        elif self.opening is not None:
            self.opening.cancel()

    def expire(self) -> None:
        """The deadline has passed."""
        if self._closing or self._write_paused:
            self.abort()
        elif self._buffer:
            self._refuse(RequestError(408, "the request took too long to arrive"))
        else:
            self.close()

    # Requests and responses.

    def _go_on(self) -> None:
        """Answer the next request, if it is complete and nothing before it is still to be sent.

        One at a time, so that a client that sends thousands at once does not hold up the others.
        """
        if self._is_waiting or self._closing:
            return
        try:
            request = self._next_request()
            if request is not None:
                self._answer(request)
        except RequestError as error:
            self._refuse(error)
            return
        if request is not None and self._buffer and not self._is_waiting:
            self._scheduled = asyncio.get_running_loop().call_soon(self._go_on_later)
        if self._transport is not None and not self._closing:
            self._throttle(self._transport)

    def _go_on_later(self) -> None:
        self._scheduled = None
        self._go_on()

    @property
    def _is_waiting(self) -> bool:
        return self._answering is not None or self._write_paused or self._scheduled is not None

    def _throttle(self, transport: asyncio.Transport) -> None:
        """Read no more while a response is due, so that a client cannot fill the memory with requests."""
        if self._is_waiting and transport.is_reading():
            transport.pause_reading()
        elif not self._is_waiting and not transport.is_reading():
            transport.resume_reading()

    def _next_request(self) -> Request | None:
        while self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]
        end = self._buffer.find(_END_OF_HEAD)
        if max(end, len(self._buffer) if end < 0 else 0) > self._options.header_bytes:
            raise RequestError(431, f"the request head is larger than {self._options.header_bytes} bytes")
        if end < 0:
            return None
        head = bytes(self._buffer[:end])
        del self._buffer[: end + len(_END_OF_HEAD)]
        self.since = self._now()
        return parse_head(head)

    def _answer(self, request: Request) -> None:
        answer = self._site.answer(request, self._peer)
        if isinstance(answer, Response):
            self._respond(answer, request)
            return
        self._answering = answer
        self.deadline = math.inf
        answer.add_done_callback(lambda task: self._answered(task, request))

    def _answered(self, task: asyncio.Task[Response], request: Request) -> None:
        self._answering = None
        if task.cancelled() or self._transport is None:
            return
        self._respond(task.result(), request)
        self._go_on()

    def _respond(self, response: Response, request: Request) -> None:
        keep_alive = request.keep_alive and response.status < 400 and not self._finishing
        self._has_answered = True
        self._await_request()
        self._write(response, keep_alive, with_body=request.method != "HEAD")
        if not keep_alive:
            self._linger()

    def _refuse(self, error: RequestError) -> None:
        self._write(refusal(error.status, error.reason), keep_alive=False, with_body=True)
        self._linger()

    def _await_request(self) -> None:
        seconds = self._options.request_seconds if self._buffer else self._options.idle_seconds
        self.deadline = self._now() + seconds

    def _write(self, response: Response, keep_alive: bool, with_body: bool) -> None:
        if self._transport is None:
            return
        fields = [
            f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
            f"Date: {formatdate(usegmt=True)}",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(response.body)}",
            f"Connection: {'keep-alive' if keep_alive else 'close'}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Content-Security-Policy: default-src 'none'",
            *(f"{name}: {value}" for name, value in response.headers),
        ]
        head = "\r\n".join(fields).encode("latin-1") + _END_OF_HEAD
        self._transport.write(head + response.body if with_body else head)

    def _linger(self) -> None:
        """Send what is written, then end; what the client still sends is thrown away for a moment."""
        self._closing = True
        self._buffer.clear()
        transport = self._transport
        if transport is None:
            return
        if self._write_paused or not transport.can_write_eof():
            self.deadline = self._now() + self._options.write_seconds
            transport.close()
            return
        self.deadline = self._now() + _LINGER_SECONDS
        transport.write_eof()
        if not transport.is_reading():
            transport.resume_reading()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
