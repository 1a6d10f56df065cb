"""All screens on all machines: nothing breaks, no line is wider than the screen, and names do no harm."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.model import Event, GpuProcess, Phase, Tick
from collectors.sources import SourceStatus
from collectors.text import clean
from dashboard.app import PhasetopApp
from dashboard.palette import palette
from dashboard.screens.table import SCREENS
from dashboard.themes import THEMES

from .examples import ALL_FIELDS, phases, thinned
from .machine import with_machine
from .support import FakeFeed, desk_of, painted_screen, text_of
from .wave import SECOND, START, Wave

NAMES = [one.name for one in SCREENS]


@settings(max_examples=200)
@given(
    name=st.sampled_from(NAMES),
    size=st.tuples(st.integers(1, 300), st.integers(1, 100)),
    gpus=st.integers(0, 16),
    engines=st.integers(0, 8),
    kept=st.sets(st.sampled_from(ALL_FIELDS)),
    states=st.tuples(st.sampled_from(["ok", "stale", "lost"]), st.sampled_from(["ok", "blocked", "stale", "down"])),
    phase=phases,
    back=st.integers(0, 5),
    look=st.sampled_from(["color", "mono", "ascii"]),
    machine=st.booleans(),
)
def test_no_machine_and_no_size_breaks_any_screen(
    name: str,
    size: tuple[int, int],
    gpus: int,
    engines: int,
    kept: set[str],
    states: tuple[str, str],
    phase: Phase,
    back: int,
    look: str,
    machine: bool,
) -> None:
    ticks = []
    for made in Wave(gpus=gpus, engines=engines, hot_gpu=1).ticks(4, first=10):
        thin = thinned(with_machine(made) if machine else made, kept, states)
        labels = {entity: replace(label, phase=phase) for entity, label in thin.labels.items()}
        ticks.append(replace(thin, labels=labels, settled=()))
    desk = desk_of(ticks, colors="mono" if look == "mono" else "truecolor", ascii=look == "ascii")
    if back:
        desk.step(-back)
    shown = next(one for one in SCREENS if one.name == name)
    lines = painted_screen(shown.load(), desk, *size)
    assert len(lines) == size[1]
    if look == "ascii":
        assert all(line.isascii() and len(line) == size[0] for line in lines)


@pytest.mark.parametrize("name", NAMES)
def test_before_the_first_interval_every_screen_is_there(name: str) -> None:
    shown = next(one for one in SCREENS if one.name == name)
    for size in ((20, 5), (80, 24), (200, 50)):
        assert "phasetop" in painted_screen(shown.load(), desk_of([]), *size)[0]


HOSTILE = {
    "markup": "[/] [bold red]x[/bold] [@click=app.quit]press[/] [link=http://e]y[/link]",
    "escapes": "a\x1b[2J\x1b]0;owned\x07\x9b31mb\x00\x08\x7f\r\nc",
    "bidi": "abc\u202edcba\u2066x\u2069\u200f",
    "zero-width": "a\u200bb\u200cc\ufeffd\u00ade",
    "combining": "e" + "\u0301" * 40 + "x\u20dd",
    "wide": "漢字かな交じり文" * 3,
    "emoji": "👩\u200d👩\u200d👧\u200d👦🏴\U000e0067\U000e007f👍🏽",
    "long": "m" * 10_000,
    "format": "%s {0} {x!r} \\n $ink $(id) `id`",
}


def hostile_ticks(text: str) -> list[Tick]:
    """Ticks in which everything that comes from outside is that text, as far as it is let in."""
    name = clean(text)
    made = []
    for tick in map(with_machine, Wave(gpus=3, engines=2, model=name, lost_gpu=2).ticks(4)):
        interval = tick.interval
        assert interval.host is not None
        host = replace(interval.host, name=name, network_interfaces=(name, "eth1"), rdma_ports=(name, name))
        engines = {
            key: replace(one, version=name, processes=(name,) * len(one.processes or ()), role="both")
            for key, one in interval.engines.items()
        }
        gpus = {key: replace(one, name=name) for key, one in interval.gpus.items()}
        processes = {key: (GpuProcess(pid=4711, name=name, user=name, memory_bytes=2.0**30),) for key in gpus}
        events = tuple(Event(interval.end - 1, kind, "", name) for kind in ("note", "throttle-begin", "xid"))
        changed = replace(interval, host=host, engines=engines, gpus=gpus, gpu_processes=processes)
        labels = {
            entity: replace(label, bottleneck=replace(label.bottleneck, why=name, advice=(name, name)))
            if label.bottleneck is not None
            else label
            for entity, label in tick.labels.items()
        }
        made.append(replace(tick, interval=changed, labels=labels, events=events, settled=()))
    return made


HOSTILE["all"] = "".join(text[:12] for text in HOSTILE.values())


@pytest.mark.parametrize(("kind", "size"), [("all", (80, 24)), ("markup", (160, 50)), ("wide", (120, 40))])
async def test_text_from_outside_does_no_harm_on_any_screen(kind: str, size: tuple[int, int]) -> None:
    name = clean(HOSTILE[kind])
    feed = FakeFeed([SourceStatus(name, "impaired", name)])
    app = PhasetopApp(feed, now=lambda: START + 4 * SECOND, title_host=name)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        feed.give(*hostile_ticks(HOSTILE[kind]))
        await pilot.pause()
        for one in SCREENS:
            await pilot.press(one.key)
            await pilot.pause()
            assert app.is_running, one.name
            for line in text_of(app):
                assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in line), one.name
            await pilot.press("grave_accent", "y", "colon", "escape", "question_mark", "escape")
            await pilot.pause()
            assert app.is_running, one.name


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("name", NAMES)
def test_no_name_makes_a_line_wider_than_the_screen(kind: str, name: str) -> None:
    shown = next(one for one in SCREENS if one.name == name)
    ticks = hostile_ticks(HOSTILE[kind])
    for size in ((20, 5), (40, 10), (80, 24), (120, 40), (200, 50)):
        painted_screen(shown.load(), desk_of(ticks), *size)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("colors", ["truecolor", "256", "16", "mono"])
def test_every_screen_wears_every_theme(name: str, theme: str, colors: str) -> None:
    desk = desk_of([with_machine(tick) for tick in Wave(gpus=2).ticks(3)])
    desk.palette = palette(colors, theme=THEMES[theme])  # type: ignore[arg-type]
    shown = next(one for one in SCREENS if one.name == name)
    painted_screen(shown.load(), desk, 100, 30)
