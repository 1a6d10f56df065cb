"""Figures of a GPU trail the pages of its engine by some tenths of a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from collectors.model import Interval, Label, engine_entity
from collectors.phase.evidence import Observation, observe
from collectors.phase.label import Labeller
from collectors.readings import EngineReading
from tests.making import ENDPOINT, decoding, gpu, intervals, prompt_landed, reading

ENGINE = engine_entity((ENDPOINT, "0"))
UUID = "GPU-1"

SILENT = reading(gpus=(UUID,))
DRAINED = reading(gpus=(UUID,), generation_tokens=120.0, steps=30.0)
"""Thirty steps, then nothing ran any more."""


def steady(**fields: Any) -> EngineReading:
    return decoding(steps=100, gpus=(UUID,), **fields)


def on_gpu(parts: Sequence[tuple[EngineReading, float]]) -> list[Interval]:
    gpus = [{UUID: gpu(UUID, kernel_active_ratio=busy)} for _, busy in parts]
    return intervals([one for one, _ in parts], gpus=gpus)


def settled(made: Sequence[Interval]) -> list[Label]:
    labeller = Labeller()
    labels = [label for interval in made for label in labeller.push(interval).settled]
    return [label for label in [*labels, *labeller.flush()] if label.entity == ENGINE]


def test_a_gpu_that_still_looks_busy_after_the_last_token_has_not_prefilled() -> None:
    labels = settled(on_gpu([(steady(), 1.0)] * 130 + [(DRAINED, 0.6), (SILENT, 0.3)] + [(SILENT, 0.0)] * 12))
    assert [label.phase.label for label in labels[130:132]] == ["decode", "idle"]
    assert labels[130].phase.prefill_share == pytest.approx(0.0, abs=0.01)


def test_a_gpu_that_looks_busy_throughout_while_requests_ran_out_has_not_prefilled() -> None:
    labels = settled(on_gpu([(steady(), 1.0)] * 130 + [(DRAINED, 1.0), (SILENT, 0.0)] + [(SILENT, 0.0)] * 12))
    assert labels[130].phase.prefill_share == pytest.approx(0.0, abs=0.01)
    assert labels[130].phase.busy_ratio == pytest.approx(0.3, abs=0.05)


def test_a_gap_within_an_interval_shows_in_the_next_figure() -> None:
    """Requests ran at both ends, and between them there was nothing to do for a while."""
    gap = decoding(steps=60, gpus=(UUID,))
    labels = settled(on_gpu([(steady(), 1.0)] * 130 + [(gap, 1.0), (steady(), 0.6)] + [(steady(), 1.0)] * 12))
    assert labels[130].phase.prefill_share == pytest.approx(0.0, abs=0.01)


def test_a_prompt_that_begins_in_silence_is_prefill_from_where_the_gpu_is_busy() -> None:
    landed = prompt_landed(30_000, 3.2, gpus=(UUID,))
    parts = [(steady(), 1.0)] * 130 + [(SILENT, 0.0)] * 12
    parts += [(SILENT, 0.3), (SILENT, 1.0), (SILENT, 1.0), (landed, 0.9)] + [(SILENT, 0.0)] * 12
    labels = settled(on_gpu(parts))
    assert [label.phase.label for label in labels[143:146]] == ["prefill"] * 3


def test_an_engine_that_went_away_leaves_its_gpu_idle() -> None:
    down = reading(gpus=(UUID,), state="down", window_seconds=None)
    labels = settled(on_gpu([(steady(), 1.0)] * 30 + [(down, 0.3)] + [(down, 0.0)] * 12))
    assert [label.phase.label for label in labels[32:]] == ["idle"] * 11


def test_an_engine_that_went_away_is_unknown_where_no_gpu_tells() -> None:
    down = reading(state="down", window_seconds=None)
    labels = settled(intervals([decoding()] * 30 + [down] * 12))
    assert {label.phase.label for label in labels[30:]} == {"unknown"}


def test_a_preempted_request_computes_a_prompt_of_usual_length_again() -> None:
    before: Observation | None = None
    thrashing = {"requests_running": 10.0, "kv_cache_usage_ratio": 1.0, "kv_cache_tokens": 20_000.0}
    parts = [prompt_landed(600, 0.1, **thrashing)] * 5 + [decoding(preemptions=3.0, **thrashing)]
    for interval in intervals(parts):
        (engine,) = interval.engines.values()
        before = observe(interval, engine, before)
    assert before is not None
    assert before.prompt == pytest.approx(3 * 600)
    assert before.preempted == 3


def test_a_preempted_request_computes_no_more_again_than_requests_hold() -> None:
    thrashing = {"requests_running": 10.0, "kv_cache_usage_ratio": 1.0, "kv_cache_tokens": 20_000.0}
    (interval,) = intervals([decoding(preemptions=2.0, **thrashing)])
    (engine,) = interval.engines.values()
    assert observe(interval, engine, None).prompt == pytest.approx(2 * 2000)
