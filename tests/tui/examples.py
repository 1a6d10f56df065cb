"""Machines for hypothesis: readings that know some of their fields, phases of any kind, and foreign text."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from hypothesis import strategies as st

from collectors.model import Phase, Tick
from collectors.readings import EngineReading, GpuReading, HostReading

HOSTILE = "[/] [bold red]x[/bold] [@click=quit]漢字 e\u0301 %s {0} \\n"


def _thinned(reading: Any, kept: set[str]) -> Any:
    """A reading that knows only some of its fields."""
    unknown = {
        entry.name: None
        for entry in fields(reading)
        if entry.metadata["kind"] in ("gauge", "amount", "histogram") and entry.name not in kept
    }
    unknown.pop("index", None)
    return replace(reading, **unknown)


def thinned(tick: Tick, kept: set[str], states: tuple[str, str]) -> Tick:
    interval = tick.interval
    gpus = {key: replace(_thinned(gpu, kept), state=states[0]) for key, gpu in interval.gpus.items()}
    engines = {key: replace(_thinned(engine, kept), state=states[1]) for key, engine in interval.engines.items()}
    host = None if interval.host is None else _thinned(interval.host, kept)
    return replace(tick, interval=replace(interval, host=host, gpus=gpus, engines=engines))


ALL_FIELDS = sorted({entry.name for reading in (HostReading, GpuReading, EngineReading) for entry in fields(reading)})
phases = st.builds(
    Phase,
    label=st.sampled_from(["prefill", "decode", "mixed", "idle", "waiting", "unknown"]),
    settled=st.booleans(),
    prefill_share=st.one_of(st.none(), st.floats(0, 1)),
    busy_ratio=st.one_of(st.none(), st.floats(0, 1)),
    error=st.one_of(st.none(), st.floats(0, 1)),
)
