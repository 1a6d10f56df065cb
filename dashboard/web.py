"""The terminal's screens in a browser: textual-serve with what keeps strangers out.

Each visitor has a process of its own. A browser lets any page open a socket to this machine, so that a
socket is only given to pages that came from here; on loopback only by the names of loopback, so that
no foreign name can be made to mean this machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from textual_serve.server import Server

from dashboard.notation import Address

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HEADERS = {
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' data: blob:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebServer(Server):
    """Serves a command. `started` gets the address once it listens; `visitors` is the most at once."""

    def __init__(self, command: str, address: Address, *, visitors: int, started: Callable[[str], None]) -> None:
        page = Path(__file__).with_name("web_page")
        super().__init__(command, address.host, address.port, title="phasetop", templates_path=page)
        self._is_loopback = is_loopback(address)
        self._most_visitors = visitors
        self._visitors = 0
        self._started = started

    def initialize_logging(self) -> None:
        """Nothing: a visitor's coming and going is nobody's business."""

    async def on_startup(self, app: web.Application) -> None:
        self._started(f"http://{Address(self.host, self.port)}")

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guarded(request, handler)

        app.middlewares.append(guarded)
        return app

    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = self.refusal(request.host, request.headers.get("Origin"))
        if refused:
            raise web.HTTPForbidden(text=refused)
        if request.path != "/ws":
            response = await handler(request)
            response.headers.update(_HEADERS)
            return response
        if self._visitors >= self._most_visitors:
            raise web.HTTPServiceUnavailable(text=f"{self._most_visitors} visitors are here already; see --visitors")
        self._visitors += 1
        try:
            return await handler(request)
        finally:
            self._visitors -= 1

    def refusal(self, host: str, origin: str | None) -> str | None:
        """Why a request is not served: what Host and Origin it was sent with."""
        if self._is_loopback and (urlsplit(f"//{host}").hostname or "") not in _LOOPBACK:
            return "this server listens on loopback and is asked for by another name"
        if origin is not None and urlsplit(origin).netloc != host:
            return "the page that asks does not come from this server"
        return None


def is_loopback(address: Address) -> bool:
    """Whether only this machine reaches the address."""
    return address.host in _LOOPBACK or address.host.startswith("127.")
