"""Exporters' pages in a running session: found, read, given up, and left in peace."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from collectors.clock import FakeClock
from collectors.engine.listeners import Listener
from collectors.engine.scrape import Fetcher
from collectors.gpu.feed import GpuFeed
from collectors.gpu.gpus import Gpus
from collectors.gpu.page_reader import PageReader
from collectors.gpu.page_search import PageSearch, is_gpu_page
from collectors.gpu.sample import GpuSample
from collectors.readings import GpuReading
from collectors.sources import Harvest
from tests.gpu_pages import DCGM_GPU, dcgm_page
from tests.live_support import reply, serving

URL = "http://127.0.0.1:9400/metrics"


class Nvml:
    """NVML's child process, as far as a feed knows it: one GPU, one sample per request."""

    def __init__(self, source: str | None) -> None:
        self.source = source
        self.status = None if source is not None else "libnvidia-ml.so.1 not found"
        self._sample: GpuSample | None = None
        self._asked = 0.0

    def start(self, arrived: threading.Event) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to stop."""

    def request(self, edge: float | None = None, next_at: float | None = None) -> None:
        self._asked += 1.0
        if self.source is not None:
            reading = GpuReading(uuid=DCGM_GPU, name="A100", source=self.source, kernel_active_ratio=0.9)
            self._sample = GpuSample(self._asked, self._asked, self._asked, (reading,))

    def latest(self) -> GpuSample | None:
        return self._sample


class Session:
    """The GPUs of a machine with an exporter, edge by edge on a fake clock."""

    def __init__(self, source: str | None = "nvml", *, configured: bool = False) -> None:
        self.clock = FakeClock()
        self.status_code = 200
        self.power = 200.0
        self.asked = 0
        self.listening = True
        self.arrived = threading.Event()
        self.gpus = Gpus(
            GpuFeed(Nvml(source)),
            lambda url: PageReader(
                Fetcher(url, transport=httpx.MockTransport(self._serve), monotonic=self.clock.monotonic), self.clock
            ),
            urls=[URL] if configured else [],
            search=lambda: (URL,) if self.listening else (),
            clock=self.clock,
        )
        self.gpus.start(self.arrived)

    def _serve(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        page = dcgm_page(DEV_POWER_USAGE=self.power)
        return httpx.Response(self.status_code, stream=httpx.ByteStream(page.encode()))

    def edge(self, *, after: float = 1.0, measured: bool = True) -> Harvest:
        self.clock.advance(after)
        self.power += 1.0 if measured else 0.0
        self.gpus.request(self.clock.monotonic())
        while self.gpus.pending():
            assert self.arrived.wait(30)
            self.arrived.clear()
        return self.gpus.collect(self.clock.monotonic())

    def states(self) -> dict[str, str]:
        return {line.source: line.state for line in self.gpus.status()}


@contextmanager
def session(source: str | None = "nvml", *, configured: bool = False) -> Iterator[Session]:
    one = Session(source, configured=configured)
    try:
        yield one
    finally:
        one.gpus.stop()


def test_a_found_exporter_adds_to_what_nvml_gives_on_older_gpus() -> None:
    with session() as one:
        one.edge()
        (row,) = one.edge().gpus
        assert (row.source, row.dram_active_ratio, row.kernel_active_ratio) == ("dcgm", 0.75, 0.9)
        assert one.states() == {"gpu": "ok", URL: "ok"}


def test_an_exporter_is_left_in_peace_where_every_gpu_has_gpm() -> None:
    with session("gpm") as one:
        for _ in range(40):
            (row,) = one.edge().gpus
        assert (row.source, row.page_fields) == ("gpm", None)
        assert one.asked <= 1  # before NVML had answered for the first time


def test_without_nvml_a_page_is_all_there_is_and_no_trouble() -> None:
    with session(None) as one:
        one.edge()
        (row,) = one.edge().gpus
        assert (row.source, row.kernel_active_ratio) == ("dcgm", 0.97)
        assert one.states() == {URL: "ok"}


def test_a_configured_page_is_read_also_beside_gpm() -> None:
    with session("gpm", configured=True) as one:
        one.edge()
        (row,) = one.edge().gpus
        assert row.source == "gpm"
        assert row.page_fields is not None
        assert "memory_used_bytes" in row.page_fields


def test_a_page_that_fails_says_why_and_nvmls_figures_stay() -> None:
    with session() as one:
        one.edge()
        one.edge()
        one.status_code = 503
        for _ in range(5):
            harvest = one.edge()
        (row,) = harvest.gpus
        assert (row.source, row.dram_active_ratio, row.kernel_active_ratio) == ("nvml", None, 0.9)
        assert [(gap.source, gap.reason) for gap in harvest.gaps] == [(URL, "answers with HTTP 503")]
        assert one.states()[URL] == "blocked"
        one.status_code = 200
        for _ in range(31):
            harvest = one.edge()
        assert harvest.gpus[0].source == "dcgm"
        assert harvest.gaps == ()


def test_a_page_that_seldom_changes_is_read_seldom() -> None:
    with session() as one:
        for second in range(120):
            one.edge(measured=second % 30 == 0)
        before = one.asked
        for second in range(60):
            one.edge(measured=second % 30 == 0)
        assert one.asked - before == pytest.approx(20, abs=2)


def test_an_exporter_that_ended_and_is_found_no_more_is_forgotten() -> None:
    with session() as one:
        one.edge()
        one.edge()
        one.status_code, one.listening = 404, False
        for _ in range(40):
            one.edge()
        assert one.states() == {"gpu": "ok"}


class Port:
    """A machine's listeners, and what came of asking them."""

    def __init__(self, port: int, *, drivers: tuple[str, ...] = (), is_page: bool = True) -> None:
        self.clock = FakeClock()
        self.asked: list[str] = []
        self.is_page = is_page
        self.inode = 1
        self.search = PageSearch(
            self.clock,
            is_page=self._ask,
            listening=lambda: (Listener("0.0.0.0", port, self.inode), Listener("127.0.0.1", 8000, 9)),
            exists=lambda path: path in drivers,
        )

    def _ask(self, url: str) -> bool:
        self.asked.append(url)
        return self.is_page


def test_only_the_ports_of_exporters_are_asked() -> None:
    port = Port(9400)
    assert port.search.look() == (URL,)
    port.search.look()
    assert port.asked == [URL]


def test_a_port_others_use_too_is_asked_only_where_the_makers_driver_is_loaded() -> None:
    assert Port(5000).search.look() == ()
    assert Port(5000, drivers=("/dev/kfd",)).search.look() == ("http://127.0.0.1:5000/metrics",)
    assert Port(41611, drivers=("/sys/module/habanalabs",)).search.look() == ("http://127.0.0.1:41611/metrics",)


def test_whoever_is_no_exporter_is_asked_ever_less_often_until_somebody_else_listens() -> None:
    port = Port(9400, is_page=False)
    for _ in range(120):
        port.search.look()
        port.clock.advance(30.0)
    assert 5 <= len(port.asked) <= 8
    port.inode, port.is_page = 2, True
    assert port.search.look() == (URL,)


def test_a_page_is_recognised_by_what_it_holds_and_asked_with_head_first() -> None:
    with serving(reply(dcgm_page().encode())) as server:
        assert is_gpu_page(server.url)
        assert [method for method, _, _ in server.requests] == ["HEAD", "GET"]
    with serving(reply(b"up 1\n")) as server:
        assert not is_gpu_page(server.url)
    with serving(reply(b"no", status="405 Method Not Allowed")) as server:
        assert not is_gpu_page(server.url)
        assert [method for method, _, _ in server.requests] == ["HEAD"]
