"""The GPUs screen: as text at many sizes, its words, and the running app under keys and mouse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.model import Event, GpuProcess, Tick, gpu_entity
from collectors.pods import Pod
from collectors.readings import GpuReading
from dashboard.desk import Desk
from dashboard.frames import Arrangement
from dashboard.gpu_choice import ORDERS, GpuChoice, number
from dashboard.gpu_words import health
from dashboard.screens.base import Dashboard
from dashboard.screens.gpus import GpusScreen

from .examples import ALL_FIELDS, thinned
from .goldens import Golden, check
from .support import desk_of, painted_screen
from .test_app import running
from .wave import Wave, uuid

SIZES = ((20, 5), (40, 10), (80, 24), (120, 40), (200, 50))
HOSTILE = "[/] [bold red]x[/bold] \\[@click=quit] 漢字 e\u0301 %s {0}"


def busy_desk(**more: object) -> Desk:
    """Eight GPUs: one hot, one lost, one with errors and processes."""
    ticks = [peopled(tick) for tick in Wave(lost_gpu=3).ticks(100)]
    return desk_of(ticks, **more)  # type: ignore[arg-type]


def peopled(tick: Tick) -> Tick:
    gpu = replace(
        tick.interval.gpus[uuid(5)], ecc_corrected_errors=4.0, ecc_uncorrected_errors=1.0, row_remap_pending=1.0,
        recovery_action="gpu-reset", pcie_link_generation=5.0, pcie_link_generation_max=5.0, pcie_link_width=8.0,
        pcie_link_width_max=16.0, memory_temperature_celsius=88.0, memory_temperature_limit_celsius=95.0,
    )  # fmt: skip
    lost = replace(tick.interval.gpus[uuid(3)], note="this GPU has fallen off the bus or is otherwise lost")
    command = "python3 -m vllm.entrypoints.openai.api_server --model llama-3.1-70b --api-key ***"
    processes = (
        GpuProcess(4711, "helper", "alice", 2.0 * 2**30, "nsys profile"),
        GpuProcess(4242, "python3", "serve", 66.5 * 2**30, command, "http://127.0.0.1:8000/metrics"),
        GpuProcess(99, memory_bytes=None),
    )
    events = tick.events
    if tick.interval.sequence == 60:
        text = "GPU 5 (H100): XID 94: contained memory error; restart the process"
        events = (*events, Event(tick.interval.end, "xid", gpu_entity(uuid(5)), text))
    interval = replace(
        tick.interval,
        gpus={**tick.interval.gpus, uuid(5): gpu, uuid(3): lost},
        gpu_processes={uuid(5): processes},
    )
    return replace(tick, interval=interval, events=events)


def select(gpu: str, screen: Dashboard) -> None:
    assert isinstance(screen, GpusScreen)
    screen.choice.selected = gpu


def draw(size: tuple[int, int], gpu: int = 5, **more: object) -> list[str]:
    return painted_screen(GpusScreen, busy_desk(**more), *size, prepare=partial(select, uuid(gpu)))


def mig_desk() -> Desk:
    """One GPU in three instances beside a whole one."""
    ticks = []
    for tick in Wave(gpus=2, hot_gpu=None).ticks(40):
        whole, other = tick.interval.gpus.values()
        parts = [
            replace(whole, uuid=f"MIG-{n}", parent=whole.uuid, instance=str(n), power_watts=None,
                    memory_total_bytes=20 * 2.0**30, memory_used_bytes=n * 2.0**30)
            for n in (1, 2, 11)
        ]  # fmt: skip
        nothing = replace(whole, instances=3.0, sm_active_ratio=None, tensor_active_ratio=None, dram_active_ratio=None)
        gpus = {gpu.uuid: gpu for gpu in (*parts, other, nothing)}
        ticks.append(replace(tick, interval=replace(tick.interval, gpus=gpus)))
    return desk_of(ticks)


def goldens() -> Iterator[Golden]:
    for width, height in SIZES:
        yield f"gpus-{width}x{height}", partial(draw, (width, height))
    yield "gpus-80x24-ascii", partial(draw, (80, 24), ascii=True)
    yield "gpus-80x24-mono", partial(draw, (80, 24), colors="mono")
    yield "gpus-120x40-mig", lambda: painted_screen(GpusScreen, mig_desk(), 120, 40)
    yield "gpus-120x40-none", lambda: painted_screen(GpusScreen, desk_of(Wave(gpus=0).ticks(40)), 120, 40)


@pytest.mark.parametrize("golden", [name for name, _ in goldens()])
def test_the_screen_looks_as_it_was_looked_at(golden: str) -> None:
    check(golden, dict(goldens())[golden]())


@settings(max_examples=80, deadline=None)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 100)),
    gpus=st.integers(0, 16),
    kept=st.sets(st.sampled_from(ALL_FIELDS)),
    state=st.sampled_from(["ok", "stale", "lost"]),
    order=st.integers(0, len(ORDERS) - 1),
    moved=st.integers(-3, 20),
    look=st.sampled_from(["color", "mono", "ascii"]),
    alone=st.sampled_from([None, "phase", "table", "history", "health", "processes"]),
)
def test_no_machine_and_no_size_breaks_the_screen(
    size: tuple[int, int], gpus: int, kept: set[str], state: str, order: int, moved: int, look: str, alone: str | None
) -> None:
    ticks = [thinned(tick, kept, (state, "ok")) for tick in Wave(gpus=gpus, engines=1, hot_gpu=1).ticks(4, first=10)]
    desk = desk_of(ticks, colors="mono" if look == "mono" else "truecolor", ascii=look == "ascii")

    def prepare(screen: Dashboard) -> None:
        assert isinstance(screen, GpusScreen)
        screen.choice.order = order
        screen.choice.move(desk.tick(), moved)
        screen._alone = alone

    lines = painted_screen(GpusScreen, desk, *size, prepare=prepare)
    assert len(lines) == size[1]
    if look == "ascii":
        assert all(line.isascii() for line in lines)


def test_a_lost_gpu_stays_in_the_list_with_the_reason() -> None:
    row = next(line for line in draw((120, 40)) if line.startswith("│   3 "))
    assert "✖ lost: this GPU has fallen off the bus" in row
    assert "0 /" not in row


def said_of(desk: Desk, gpu: int) -> list[str]:
    tick = desk.tick()
    assert tick is not None
    return [f"{one.level}: {one.text}" for one in health(desk.scene(Arrangement()), tick.interval.gpus[uuid(gpu)])]


def test_health_says_the_worst_first_and_in_words() -> None:
    assert said_of(busy_desk(), 5) == [
        "bad: the driver asks for a reset of this GPU",
        "odd: clocks held down by heat 41 % of the time",
        "odd: XID 94: contained memory error; restart the process (12:01:01)",
        "odd: a memory row waits for a reset of the GPU to be replaced",
        "odd: 1 uncorrectable memory error since the driver was loaded, 4 corrected",
        "odd: core 86 of 83 °C, memory 88 of 95 °C",
        "odd: PCIe generation 5 ×8: 16 lanes are possible",
        "well: NVLink 27.3 GB/s out, 27.3 GB/s in",
        "well: PCIe 400 MB/s out, 1.10 GB/s in",
    ]
    text = "\n".join(draw((120, 40)))
    assert "✖ the driver asks for a reset of this GPU" in text
    assert "▲ clocks held down by heat" in text


def test_a_gpu_that_is_well_is_said_to_be_so() -> None:
    said = said_of(busy_desk(), 0)
    assert said[0] == "well: nothing is wrong with it"
    assert all(one.startswith("well") for one in said)


def test_an_xid_after_the_interval_looked_at_is_not_known_there_yet() -> None:
    desk = busy_desk()
    desk.step(-70)
    assert not any("XID" in said for said in said_of(desk, 5))


def test_processes_are_listed_by_memory_with_their_engine_and_what_is_hidden() -> None:
    lines = draw((200, 50))
    rows = [line for line in lines if " 4242 " in line or " 4711 " in line or "   99 " in line]
    assert [next(pid for pid in ("4242", "4711", "99") if pid in row) for row in rows] == ["4242", "4711", "99"]
    assert "vLLM :8000" in rows[0]
    assert "--api-key ***" in rows[0]
    assert "not visible from here" in rows[2]
    assert any("3 on GPU 5   68.5 GiB" in line for line in lines)


def test_names_from_outside_do_no_harm() -> None:
    tick = Wave(gpus=1, engines=0).tick(5)
    process = GpuProcess(7, HOSTILE, HOSTILE, 1e9, HOSTILE * 40)
    gpus = {uuid(0): replace(tick.interval.gpus[uuid(0)], name=HOSTILE * 10, note=HOSTILE)}
    hostile = replace(tick, interval=replace(tick.interval, gpus=gpus, gpu_processes={uuid(0): (process,)}))
    for width in (24, 60, 80, 120):
        assert "[bold" in "\n".join(painted_screen(GpusScreen, desk_of([hostile]), width, 40))


def test_a_process_in_a_pod_has_its_pod_before_its_command() -> None:
    tick = Wave(gpus=1, engines=0).tick(5)
    pod = Pod("c" * 64, "a-uid", "vllm-0", "team", "server")
    process = GpuProcess(7, "python3", "root", 1e9, "python3 -m vllm", pod=pod)
    seen = replace(tick, interval=replace(tick.interval, gpu_processes={uuid(0): (process,)}))
    assert "team/vllm-0 python3 -m vllm" in "\n".join(painted_screen(GpusScreen, desk_of([seen]), 160, 40))


def test_instances_follow_their_gpu_and_are_counted_by_it() -> None:
    desk = mig_desk()
    tick = desk.tick()
    assert [number(gpu) for gpu in GpuChoice().listed(tick)] == ["0", "0:1", "0:2", "0:11", "1"]


def test_sorting_puts_the_largest_first_and_what_is_missing_last() -> None:
    tick = busy_desk().tick()
    choice = GpuChoice()
    while choice.sorted_by.name != "temperature":
        choice.sort_next()
    listed = choice.listed(tick)
    assert listed[0].uuid == uuid(5)
    assert listed[-1].state == "lost"


def test_a_filter_looks_at_everything_a_gpu_is_known_by() -> None:
    tick = busy_desk().tick()
    for words, found in (
        ("alice", [5]),
        ("lost", [3]),
        ("gpu 2", [2]),
        ("llama gpm", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("x y", []),
    ):
        assert [gpu.index for gpu in GpuChoice(wanted=words).listed(tick)] == found


def test_a_selected_gpu_that_went_away_gives_way_to_the_first() -> None:
    choice = GpuChoice(selected="GPU-gone")
    shown = choice.shown(busy_desk().tick())
    assert shown is not None
    assert shown.index == 0


def test_utilization_is_never_sold_as_activity() -> None:
    desk = desk_of(Wave(gpus=2, activity_source="nvml").ticks(60))
    text = "\n".join(painted_screen(GpusScreen, desk, 120, 40))
    assert "kernel-active" in text
    for wrong in ("SM ", "tensor", "DRAM"):
        assert wrong not in text


def test_the_history_is_of_the_selected_gpu_and_its_number_of_the_interval_under_the_cursor() -> None:
    desk = busy_desk()
    desk.step(-30)
    tick = desk.tick()
    assert tick is not None
    gpu: GpuReading = tick.interval.gpus[uuid(5)]
    assert gpu.power_watts is not None
    line = next(line for line in painted_screen(GpusScreen, desk, 120, 40, prepare=partial(select, uuid(5)))
                if line.startswith("│ power"))  # fmt: skip
    assert f"{gpu.power_watts:.0f} W  of 700 W" in line


async def test_two_shows_the_gpus_and_the_keys_work_there() -> None:
    async with running() as run:
        await run.press("2")
        assert "Processes" in run.text
        assert "GPU 0  H100" in run.text
        await run.press("down")
        assert "GPU 1  H100" in run.text
        await run.press("down", "down", "up")
        assert "GPU 0  H100" in run.text
        await run.press("s", "s")
        assert "GPUs  by tensor" in run.text
        await run.press("slash", *"gpu", "space", "1", "enter")
        assert "GPUs  with gpu 1" in run.text
        assert "1 shown" in run.text
        await run.press("question_mark")
        assert "sort by the next column" in run.text


async def test_a_cursor_set_on_one_screen_stays_set_on_the_others() -> None:
    async with running() as run:
        await run.press("2", "left", "left")
        assert "│ 12:00:58" in run.text
        await run.press("1")
        assert "│ 12:00:58" in run.text
        assert "Verdict" in run.text


async def test_a_click_selects_a_gpu_and_sets_the_cursor() -> None:
    async with running() as run:
        await run.press("2")
        lines = run.text.splitlines()
        row = next(y for y, line in enumerate(lines) if line.startswith("│   1 "))
        await run.pilot.click(offset=(4, row))
        await run.pilot.pause()
        assert "GPU 1  H100" in run.text
        power = next(y for y, line in enumerate(run.text.splitlines()) if line.startswith("│ power"))
        newest = max(x for x, cell in enumerate(run.text.splitlines()[power]) if cell in "▁▂▃▄▅▆▇█")
        await run.pilot.click(offset=(newest - 5, power))
        await run.pilot.pause()
        assert run.app.desk.tick() is not None
        assert run.app.desk.view.cursor == 59 - 2 * 5


def test_every_screen_of_the_table_can_be_loaded() -> None:
    from dashboard.screens.table import SCREENS

    for one in SCREENS:
        assert issubclass(one.load(), Dashboard)


def test_processes_that_do_not_fit_are_scrolled_to_and_another_gpu_begins_at_its_first() -> None:
    tick = Wave(gpus=2).tick(30)
    many = tuple(GpuProcess(100 + n, f"worker-{n}", "root", (40.0 - n) * 2**30, f"serve --rank {n}") for n in range(30))
    seen = replace(tick, interval=replace(tick.interval, gpu_processes={uuid(0): many, uuid(1): many[:2]}))

    def shown(*moves: tuple[str, int]) -> str:
        def prepare(screen: Dashboard) -> None:
            assert isinstance(screen, GpusScreen)
            for name, by in moves:
                getattr(screen.choice, name)(seen, by)

        return "\n".join(painted_screen(GpusScreen, desk_of([seen]), 120, 40, prepare=prepare))

    first = shown()
    assert "serve --rank 0" in first
    assert "1–" in first
    assert " of 30 on GPU 0" in first
    further = shown(("scroll", 5))
    assert "serve --rank 0 " not in further
    assert "serve --rank 5" in further
    last = shown(("scroll", 500))
    assert "serve --rank 29" in last
    assert "–30 of 30" in last
    assert shown(("scroll", 500), ("scroll", -500)) == first
    other = shown(("scroll", 5), ("move", 1))
    assert "serve --rank 0" in other
    assert "2 on GPU 1" in other
