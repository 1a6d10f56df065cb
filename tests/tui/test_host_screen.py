"""The Host screen: as text at many sizes, single CPUs by node, links, limits and threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.model import Tick
from collectors.readings import EngineReading, HostReading
from dashboard.app import PhasetopApp
from dashboard.desk import Desk
from dashboard.palette import palette
from dashboard.screens.host import HostScreen
from dashboard.widgets.cores import nodes_of, rows_needed
from dashboard.widgets.links import links_of

from .examples import ALL_FIELDS, thinned
from .goldens import Golden, check
from .machine import with_machine
from .support import FakeFeed, desk_of, painted_screen, text_of
from .wave import Wave

SIZES = ((20, 5), (40, 10), (80, 24), (120, 40), (200, 50))


def ticks(seconds: int = 250, wave: Wave | None = None, *, cpus: int = 112) -> list[Tick]:
    return [with_machine(tick, cpus=cpus) for tick in (wave or Wave()).ticks(seconds)]


def draw(size: tuple[int, int] = (120, 40), desk: Desk | None = None) -> list[str]:
    return painted_screen(HostScreen, desk or desk_of(ticks()), *size)


def screen(size: tuple[int, int] = (120, 40), desk: Desk | None = None) -> str:
    return "\n".join(draw(size, desk))


def changed(tick: Tick, **fields: object) -> Tick:
    assert tick.interval.host is not None
    host = replace(tick.interval.host, **fields)  # type: ignore[arg-type]
    return replace(tick, interval=replace(tick.interval, host=host))


def goldens() -> Iterator[Golden]:
    for width, height in SIZES:
        yield f"host-{width}x{height}", partial(draw, (width, height))
    yield "host-80x24-ascii", lambda: draw((80, 24), desk_of(ticks(), ascii=True))
    yield "host-120x40-mono", lambda: draw((120, 40), desk_of(ticks(), colors="mono"))
    yield "host-120x40-320-cpus", lambda: draw((120, 40), desk_of(ticks(60, cpus=320)))
    yield "host-80x24-bare", lambda: draw((80, 24), desk_of(Wave(gpus=0, engines=0).ticks(20)))


@pytest.mark.parametrize("golden", [name for name, _ in goldens()])
def test_the_screen_looks_as_it_was_looked_at(golden: str) -> None:
    check(golden, dict(goldens())[golden]())


def test_every_cpu_has_a_cell_under_its_own_node() -> None:
    host = HostReading(name="n", cpu_core_ratios=tuple(n / 10 for n in range(10)), numa_cpus=("0-1,8-9", "2-7"))
    assert [node.ratios for node in nodes_of(host)] == [(0.0, 0.1, 0.8, 0.9), (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)]
    assert rows_needed(host, 120) == 2
    assert rows_needed(replace(host, cpu_core_ratios=(0.5,) * 256, numa_cpus=None), 118) == 3


def test_a_node_list_that_names_cpus_that_are_not_there_loses_none_that_are() -> None:
    host = HostReading(name="n", cpu_core_ratios=(0.1, 0.2, 0.3), numa_cpus=("0-99", "nonsense", "0"))
    assert sorted(ratio for node in nodes_of(host) for ratio in node.ratios if ratio is not None) == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("cpus", [2, 64, 256, 512, 2048])
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_any_number_of_cpus_fits(cpus: int, size: tuple[int, int]) -> None:
    text = screen(size, desk_of(ticks(20, cpus=cpus)))
    assert "node 0" in text
    assert "node 1" in text
    assert "Memory, limits, pressure" in text


def test_where_cpus_share_a_cell_it_is_said() -> None:
    assert "CPUs, 2 a cell" in screen((60, 16))
    assert "a cell" not in screen((120, 40))


def test_a_full_core_is_called_necessary_and_not_sufficient() -> None:
    text = screen()
    assert "VLLM::EngineCor" in text
    assert "necessary for the host to be the limit, not sufficient" in text
    last = ticks(60)[-1]
    key, engine = next(iter(last.interval.engines.items()))
    calm = replace(engine, process_thread_ratios=(0.4, 0.3, 0.2))
    quiet = replace(last, interval=replace(last.interval, engines={key: calm}))
    assert "necessary" not in screen(desk=desk_of([quiet]))


def test_an_engine_whose_processes_are_not_seen_says_so() -> None:
    assert "not seen: the engine runs elsewhere" in screen(desk=desk_of(Wave().ticks(20)))


def test_a_throttled_group_needs_a_look() -> None:
    text = screen(desk=desk_of([changed(ticks(30)[-1], cpu_throttled_ratio=0.31, cpu_quota_cores=4.0)]))
    assert "4 CPUs   ▲ held 31 % of the time" in text


def test_what_was_not_measured_is_a_dash_and_never_0() -> None:
    bare = HostReading(name="n", window_seconds=1.0)
    tick = replace(ticks(30)[-1], interval=replace(ticks(30)[-1].interval, host=bare))
    lines = draw(desk=desk_of([tick]))
    for line in lines:
        for name in ("│ memory ", "│   CPU ", "│   memory ", "│   disk ", "│ swap ", "│ CPU lost "):
            if line.startswith(name):
                assert "0" not in line.split("│")[1], line
    text = "\n".join(lines)
    assert "single CPUs not measured" in text
    assert "no physical interface is seen here" in text


def test_a_link_without_a_known_speed_has_no_use() -> None:
    host = ticks(30)[-1].interval.host
    assert host is not None
    links = list(links_of(host))
    assert [link.name for link in links] == ["eth0", "eth1", "mlx5_0/1", "mlx5_1/1"]
    assert links[0].use == pytest.approx(1.2e9 / (25e9 / 8))
    assert links[1].use is None


def test_links_that_do_not_fit_are_counted() -> None:
    names = tuple(f"eth{n}" for n in range(40))
    fields = {"network_interfaces": names, "network_interface_receive_bytes": (1.0,) * 40, "rdma_ports": None}
    assert "more" in screen((80, 24), desk_of([changed(ticks(30)[-1], **fields)]))


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 100)),
    gpus=st.integers(0, 16),
    engines=st.integers(0, 8),
    cpus=st.integers(1, 400),
    kept=st.sets(st.sampled_from(ALL_FIELDS)),
    ragged=st.booleans(),
    back=st.integers(0, 3),
    look=st.sampled_from(["color", "mono", "ascii"]),
    replaced=st.sampled_from(["", "host", "lists"]),
)
def test_no_machine_and_no_size_breaks_the_screen(
    size: tuple[int, int], gpus: int, engines: int, cpus: int, kept: set[str], ragged: bool, back: int, look: str,
    replaced: str,
) -> None:  # fmt: skip
    made = []
    for tick in Wave(gpus=gpus, engines=engines, hot_gpu=1).ticks(4, first=10):
        thin = with_machine(thinned(tick, kept, ("ok", "ok")), cpus=cpus)
        if ragged and thin.interval.host is not None:
            thin = changed(thin, network_interface_speeds=(), rdma_port_receive_bytes=None)
        if replaced:
            host = None if replaced == "host" else HostReading(name="n", cpu_core_ratios=(), numa_cpus=())
            thin = replace(thin, interval=replace(thin.interval, host=host))
        made.append(replace(thin, settled=()))
    desk = desk_of(made, colors="mono" if look == "mono" else "truecolor", ascii=look == "ascii")
    if back:
        desk.step(-back)
    lines = draw(size, desk)
    assert len(lines) == size[1]
    if look == "ascii":
        assert all(line.isascii() for line in lines)


def test_names_of_processes_and_links_are_cut_and_never_parsed() -> None:
    hostile = "[/] [bold]漢字" * 50
    tick = ticks(30)[-1]
    key, engine = next(iter(tick.interval.engines.items()))
    named: EngineReading = replace(engine, processes=(hostile,), process_threads=(hostile,))
    bad = replace(tick, interval=replace(tick.interval, engines={key: named}))
    for size in SIZES:
        draw(size, desk_of([changed(bad, network_interfaces=(hostile, "b"))]))


@pytest.mark.parametrize("size", [(20, 5), (80, 24), (120, 40), (200, 50)])
async def test_the_key_4_shows_it_in_the_running_app(size: tuple[int, int]) -> None:
    feed = FakeFeed()
    made = ticks(30)
    app = PhasetopApp(feed, now=lambda: made[-1].interval.end)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        await pilot.press("4")
        feed.give(*made)
        await pilot.pause()
        await pilot.pause()
        lines = text_of(app)
        assert [len(line) for line in lines] == [size[0]] * size[1]
        assert "CPU" in "\n".join(lines)
        if size[0] >= 80:
            await pilot.press("m")
            await pilot.pause()
            assert [len(line) for line in text_of(app)] == [size[0]] * size[1]


def test_without_colour_and_in_ascii_levels_are_glyphs() -> None:
    assert palette("mono").glyphs.levels
    text = screen((120, 40), desk_of(ticks(), ascii=True))
    assert "@" in next(line for line in text.splitlines() if "node 0" in line), "the full core"
