"""What the metrics page of an engine gives, and which switch of the engine would give more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from collectors.engine.catalog import ENGINES, ENGINES_BY_NAME, GATEWAY_ROLE
from collectors.engine.reading import EngineSnapshot, engine_reading, new_memo, snapshots
from collectors.engine.strangers import described
from collectors.readings import EngineReading
from dashboard.doctor.finding import Finding

_NOT_YET = "unless that is so and no request came yet"  # both count nothing before the first one
_SWITCHES: Mapping[str, str] = {
    "vllm": f"start it with --enable-mfu-metrics (0.18 and newer), {_NOT_YET}",
    "sglang": f"start it with SGLANG_ENABLE_METRICS_DEVICE_TIMER=1 (0.5.11 and newer), {_NOT_YET}",
}


def known_engines() -> Finding:
    return Finding("engines", "note", f"pages that are understood: {', '.join(engine.title for engine in ENGINES)}")


def page_findings(endpoint: str, text: str) -> Iterator[Finding]:
    """What one page gives; `text` is the page as it was served."""
    found = snapshots(endpoint, text, 0.0, new_memo())
    if not found:
        text = f"{endpoint}: a metrics page, but of no engine that is known here: {described(text)}"
        yield Finding("engines", "missing", text)
    for snapshot in found:
        yield from _engine_findings(snapshot)


def empty_page_findings(endpoint: str, engine: str) -> Iterator[Finding]:
    """What the page of such an engine gives before its first request."""
    text = f"{ENGINES_BY_NAME[engine].title} at {endpoint}: its page is empty until the first request"
    yield Finding("engines", "fine", text)


def _engine_findings(snapshot: EngineSnapshot) -> Iterator[Finding]:
    # A page compared with itself a second later: amounts are 0 where the page counts them, None where it does not.
    reading = engine_reading(snapshot, replace(snapshot, arrived=snapshot.arrived + 1), end=snapshot.arrived + 1)
    title = ENGINES_BY_NAME[snapshot.engine].title
    name = f"{title} at {snapshot.endpoint}" + (
        f" rank {snapshot.engine_index}" if snapshot.engine_index != "0" else ""
    )
    if snapshot.role == GATEWAY_ROLE:
        yield Finding("engines", "note", f"{name}: a router; the engines behind it have phases, this has none")
    elif reading.prefill_seconds is not None and (reading.decode_seconds is not None or reading.steps is not None):
        yield Finding("engines", "fine", f"{name}: counts its own seconds in prefill")
    elif reading.flops is not None and reading.read_bytes is not None:
        yield Finding("engines", "fine", f"{name}: counts operations and bytes read: phases from their ratio")
    elif "generation_tokens" in (reading.late_fields or "").split(",") or reading.generation_tokens is None:
        text = f"{name}: counts nothing as it generates: phases come from the GPU, if its activity can be read"
        yield Finding("engines", "limited", text)
    else:
        yield _calibrated(name, reading)
    if snapshot.engine == "llamacpp":
        yield Finding(
            "engines",
            "note",
            f"{name}: its *_tokens_seconds gauges restart at every read of the page, this program's reads included",
            "let other readers of the page use its counters",
        )


def _calibrated(name: str, reading: EngineReading) -> Finding:
    remedy = _SWITCHES.get(reading.engine or "")
    counts = "tokens and steps" if reading.steps is not None else "tokens"
    text = f"{name}: counts {counts}, not what they cost: phases are estimated from costs learnt while it runs"
    return Finding("engines", "limited", text, remedy)
