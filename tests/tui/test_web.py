"""The dashboard in a browser, and who is kept out."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.test_cli import COMMAND, phasetop
from tests.test_commands import ENVIRONMENT

pytest.importorskip("textual_serve", reason="the extra phasetop[web] is not installed")

from dashboard.notation import Address
from dashboard.web import WebServer, is_loopback

from .browser import Page, browsing

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def server(host: str) -> WebServer:
    return WebServer("true", Address(host, 19418), visitors=1, started=lambda url: None)


@pytest.mark.parametrize(
    ("host", "origin"),
    [("127.0.0.1:19418", None), ("localhost:9000", "http://localhost:9000"), ("[::1]:19418", "http://[::1]:19418")],
)
def test_pages_of_this_server_are_served(host: str, origin: str | None) -> None:
    assert server("127.0.0.1").refusal(host, origin) is None


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("evil.example", None),
        ("evil.example:19418", "http://evil.example:19418"),
        ("127.0.0.1:19418", "http://evil.example"),
        ("127.0.0.1:19418", "null"),
        ("", None),
    ],
)
def test_pages_from_elsewhere_are_refused(host: str, origin: str | None) -> None:
    assert server("127.0.0.1").refusal(host, origin)


def test_beyond_loopback_any_name_is_served_but_no_foreign_page() -> None:
    assert server("0.0.0.0").refusal("node-17:19418", "http://node-17:19418") is None
    assert server("0.0.0.0").refusal("node-17:19418", "http://evil.example")


def test_what_reaches_only_this_machine() -> None:
    assert [is_loopback(Address(host, 1)) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.5")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_listening_beyond_loopback_is_refused_in_words_unless_asked_for() -> None:
    refused = phasetop("web", "--listen", "0.0.0.0:0", environment=ENVIRONMENT)
    assert refused.returncode == 2
    assert "no password" in refused.stderr
    assert "--beyond-loopback" in refused.stderr
    assert "has no screen" in phasetop("web", "once", environment=ENVIRONMENT).stderr


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where the demo is served."""
    environment = {**ENVIRONMENT, "XDG_STATE_HOME": str(tmp_path)}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*COMMAND, "web", "--listen", f"127.0.0.1:{port}", "demo"], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("http://127.0.0.1:"), line
        yield line.split()[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        process.stderr.close()


async def still(page: Page, other_than: bytes = b"") -> bytes:
    """A picture that stays the same for half a second, and is another one."""
    async with asyncio.timeout(PATIENCE):
        before = b""
        while True:
            now = await page.picture()
            if now == before != other_than:
                return now
            before = now
            await asyncio.sleep(0.5)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
async def test_a_browser_shows_the_dashboard_and_its_keys_act(address: str, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    async with browsing(CHROMIUM, address, tmp_path / "profile", (1300, 900)) as page:
        await page.until("document.body.classList.contains('-first-byte')")
        await page.until("document.activeElement.classList.contains('xterm-helper-textarea')")
        await page.press(" ")
        overview = await still(page)
        await page.press("2")
        gpus = await still(page, other_than=overview)
        await page.press("T")
        changed = await still(page, other_than=gpus)
        if keep := os.environ.get("PHASETOP_KEEP_PICTURES"):
            (Path(keep) / "web.png").write_bytes(changed)
        await page.press("q")
        await page.until("document.body.classList.contains('-closed')")
