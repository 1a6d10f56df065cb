"""Whole screens as text, drawn without a terminal: many sizes, many machines, and text from outside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from collectors.model import HOST, Gap, Label, Phase
from collectors.readings import EngineReading, GpuReading
from collectors.sources import SourceStatus

from .examples import HOSTILE
from .support import desk_of, painted
from .wave import Wave, uuid

WAVE = Wave()
SIZES = [(20, 5), (40, 10), (60, 16), (80, 24), (120, 40), (200, 50)]


def screen(wave: Wave = WAVE, seconds: int = 60, size: tuple[int, int] = (120, 40), **more: Any) -> str:
    return "\n".join(painted(desk_of(wave.ticks(seconds), **more), *size))


def test_the_overview_at_120x40_says_everything() -> None:
    text = screen(seconds=250)
    for said in (
        "phasetop  node-17  8 × H100 80GB HBM3  vLLM 0.11.0  llama-3.1-70b", "● live  1 s", "UTC",
        "─ Phase ─", "last 2 min 54 s   prefill", "engine restart", "▲ power cap 38 s", "╱╱╱",
        "SM ", "tensor ", "DRAM ", "prompt ", "output ", "TB/s", "tok/s", " now ",
        "─ Verdict ─", "and bound by memory bandwidth", "provisional   medium confidence   ±8 points",
        "→ more concurrent sequences", "─ GPUs ─", "8 of 8",
        "▲ GPU 5 runs 1", " % behind its peers: thermal slowdown 41 % of the time",
        "─ Engine ─", "vLLM :8000", "tokens/s", "KV cache", "TTFT", "p99", "over 1 min",
        "─ Host ─", "112 CPUs   load 38.2", "PSI", "J/token", "space pause  ? help  q quit",
    ):  # fmt: skip
        assert said in text, said
    assert "Roofline" not in text


def test_at_80x24_what_matters_most_is_left() -> None:
    text = screen(size=(80, 24))
    for said in ("Phase", "prefill", "Verdict", "bound by memory bandwidth", "GPU 5 runs 1", "tokens/s"):
        assert said in text, said
    assert "Host" not in text


def test_at_40x10_there_are_the_strip_and_the_verdict() -> None:
    lines = painted(desk_of(WAVE.ticks(60)), 40, 10)
    assert lines[0].startswith(" phasetop  node-17")
    assert lines[1].startswith(" Phase ─")
    assert any("█" * 10 in line for line in lines)
    assert "Prefill and decode mixed and bound by" in "\n".join(lines)


def test_at_20x5_there_is_one_line_of_shares() -> None:
    lines = painted(desk_of(WAVE.ticks(60)), 20, 5)
    assert lines[0].startswith("phasetop")
    assert [word for word in lines[1].split() if word.isalpha()] == ["P", "D", "I"]
    assert lines[1].count("%") == 3


def test_before_the_first_interval_the_screen_is_there() -> None:
    text = "\n".join(painted(desk_of([]), 120, 40))
    assert "waiting for the first interval" in text
    assert "starting" in text
    assert "q quit" in text


def test_a_machine_without_gpus_says_so_in_one_line() -> None:
    status = SourceStatus("gpu", "missing", "libnvidia-ml.so.1 not found")
    lines = painted(desk_of(Wave(gpus=0).ticks(60), statuses=[status]), 120, 40)
    assert [line for line in lines if "libnvidia" in line] == [
        f"│ {'GPU       no GPU: libnvidia-ml.so.1 not found':<116} │"
    ]
    text = "\n".join(lines)
    assert "GPUs" not in text
    assert "CPU " in text
    assert "output" in text


def test_utilization_is_never_sold_as_activity() -> None:
    text = screen(Wave(activity_source="nvml"))
    assert "kernel-active" in text
    assert "memory-active" in text
    without_verdict = text[: text.index("Verdict")] + text[text.index("─ GPUs") :]
    for wrong in ("SM ", "tensor", "DRAM"):
        assert wrong not in without_verdict
    assert "% of time" in text


def test_gpus_that_do_not_answer_keep_their_lines_and_columns() -> None:
    *ticks, last = Wave().ticks(30)
    silent = {
        key: GpuReading(uuid=gpu.uuid, index=gpu.index, name=gpu.name, state="stale")
        for key, gpu in last.interval.gpus.items()
    }
    lines = painted(desk_of([*ticks, replace(last, interval=replace(last.interval, gpus=silent))]), 120, 40)
    text = "\n".join(lines)
    assert "kernel-active" not in text
    assert "tensor" in text
    assert any(line.startswith("│ DRAM") for line in lines)


def test_a_lost_gpu_keeps_its_row_and_nothing_of_it_is_zero() -> None:
    lines = painted(desk_of(Wave(lost_gpu=3).ticks(30)), 120, 40)
    row = next(line for line in lines if line.startswith("│ 3 "))
    assert "lost" in row
    assert "✖" in row
    assert " 0 " not in row
    assert any("✖ GPU 3 is lost" in line for line in lines)
    assert any("7 of 8" in line for line in lines)


def test_an_engine_that_is_down_is_one_line_and_the_rest_lives() -> None:
    tick = WAVE.tick(30)
    key, engine = next(iter(tick.interval.engines.items()))
    down = EngineReading(endpoint=engine.endpoint, engine_index="0", engine="vllm", state="down")
    gap = Gap(engine.endpoint, "connection refused")
    broken = replace(tick, interval=replace(tick.interval, engines={key: down}, gaps=(gap,)))
    text = "\n".join(painted(desk_of([*WAVE.ticks(30), broken]), 120, 40))
    assert "▲ down: connection refused" in text
    assert "CPU" in text


def test_an_endpoint_that_gave_nothing_yet_is_told_with_its_reason() -> None:
    status = SourceStatus("http://127.0.0.1:9000/metrics", "blocked", "401: a token is needed")
    text = "\n".join(painted(desk_of(WAVE.ticks(20), statuses=[status]), 120, 40))
    assert ":9000" in text
    assert "▲ blocked: 401: a token is needed" in text


def test_several_engines_have_a_row_each() -> None:
    text = screen(Wave(engines=3))
    assert "3 of 3" in text
    for port in (8000, 8001, 8002):
        assert f"vLLM :{port}" in text


def test_engines_that_do_not_fit_are_counted() -> None:
    text = screen(Wave(gpus=8, engines=8), size=(80, 24))
    assert "and " in text
    assert " more" in text


def test_the_newest_label_may_be_unknown_then_the_last_settled_one_speaks() -> None:
    ticks = list(WAVE.ticks(40))
    unknown = Phase("unknown", False)
    last = ticks[-1]
    labels = {HOST: Label(last.interval.sequence, HOST, unknown, last.labels[HOST].bottleneck)}
    text = "\n".join(painted(desk_of([*ticks[:-1], replace(last, labels=labels)]), 120, 40))
    assert "as of 12:00:30, newer evidence not in yet" in text
    assert "memory bandwidth" in text


def test_settled_labels_are_not_called_provisional() -> None:
    desk = desk_of(WAVE.ticks(60))
    desk.step(-20)
    text = "\n".join(painted(desk, 120, 40))
    assert "provisional" not in text
    assert "high confidence   ±3 points" in text


def test_a_feed_that_stopped_says_since_when() -> None:
    received = list(WAVE.ticks(20))
    desk = desk_of(received)
    desk._now = lambda: received[-1].interval.end + 7_000_000_000
    assert "▲ no data for 7 s" in painted(desk, 120, 40)[0]


@pytest.mark.parametrize("size", SIZES)
def test_in_ascii_every_character_is_ascii(size: tuple[int, int]) -> None:
    for wave in (WAVE, Wave(gpus=0, engines=3), Wave(model=HOSTILE, lost_gpu=1)):
        for line in painted(desk_of(wave.ticks(40), ascii=True), *size):
            assert line.isascii()
            assert len(line) == size[0]


def test_in_ascii_the_phases_are_letters() -> None:
    lines = painted(desk_of(WAVE.ticks(60), ascii=True), 120, 40)
    strip = "".join(lines[2:10])
    assert "pppp" in strip
    assert "dddd" in strip


@pytest.mark.parametrize("size", SIZES[3:])
def test_without_colour_prefill_and_decode_have_glyphs_of_their_own(size: tuple[int, int]) -> None:
    text = screen(size=size, colors="mono")
    assert "▒▒" in text
    assert "██" in text


def test_text_from_outside_is_shown_as_it_is() -> None:
    """Markup has no meaning here: what a name contains is what is read."""
    hostile = "[/] [bold]x"
    wave = Wave(model=hostile)
    tick = wave.tick(20)
    judged = replace(tick.labels[HOST].bottleneck, why=f"why {hostile}", advice=(f"do {hostile}",))
    labels = {**tick.labels, HOST: replace(tick.labels[HOST], bottleneck=judged)}
    text = "\n".join(painted(desk_of([replace(tick, labels=labels)]), 120, 40))
    assert f"  {hostile} " in text
    assert f"why {hostile}" in text
    assert f"→ do {hostile}" in text


def test_long_and_wide_names_are_cut() -> None:
    for name in ("m" * 10_000, "漢" * 5_000):
        for size in SIZES:
            painted(desk_of(Wave(model=name).ticks(5)), *size)


def test_the_phase_of_each_gpu_is_its_own() -> None:
    tick = WAVE.tick(30)
    entity = f"gpu/{uuid(2)}"
    other = replace(tick.labels[entity], phase=Phase("prefill", True, 1.0, 1.0))
    lines = painted(desk_of([replace(tick, labels={**tick.labels, entity: other})], ascii=True), 120, 40)
    assert next(line for line in lines if line.startswith("| 2 ")).split()[2] == "pppppppp"
