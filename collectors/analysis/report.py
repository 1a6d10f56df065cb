"""A recording as a report: one pass, then sections of figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from collectors.analysis.figures import Report, Section, Source
from collectors.analysis.report_capacity import capacity_section, host_section, power_section
from collectors.analysis.report_hardware import hardware_section
from collectors.analysis.report_latency import disaggregation_section, interference_section, latency_section
from collectors.analysis.report_money import energy_section, money_section
from collectors.analysis.report_time import bottleneck_section, time_section
from collectors.analysis.settings import Settings
from collectors.analysis.study import Study, study
from collectors.analysis.words import duration, percent
from collectors.replay import Recording

_SECTIONS: tuple[Callable[[Study], Section | None], ...] = (
    time_section, bottleneck_section, money_section, energy_section, latency_section, interference_section,
    hardware_section, capacity_section, host_section, power_section, disaggregation_section,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Nothing(Exception):
    """There is nothing in the stretch of time asked for."""


def report(
    recording: Recording,
    settings: Settings,
    from_ns: int | None = None,
    to_ns: int | None = None,
    *,
    seen: Callable[[int], None] = lambda _: None,
) -> Report:
    """The report on the intervals that start within [from, to), in wall-clock ns.

    `seen` is told how far reading has come. Raises Nothing for a stretch without an interval, RecordingError
    for a recording that cannot be read.
    """
    found = study(recording, settings, from_ns, to_ns, seen=seen)
    if not found.read.blocks:
        raise Nothing
    sections = tuple(section for make in _SECTIONS if (section := make(found)) is not None)
    return Report(source_of(recording.path, recording, found), summary(found), sections, settings.in_words())


def source_of(path: Path, recording: Recording, found: Study) -> Source:
    read, roster = found.read, found.read.roster
    cards: dict[str, int] = {}
    for gpu in roster.gpus.values():
        if not gpu.is_divided:
            name = gpu.name or "GPU"
            cards[name] = cards.get(name, 0) + 1
    machines = [f"{count} x {name}" if count > 1 else name for name, count in cards.items()]
    for entity, engine in found.totals.engines.items():
        told = [engine.engine or "engine", engine.version or "", engine.model or "", f"({entity.split('/', 1)[1]})"]
        machines.append(" ".join(part for part in told if part))
    return Source(
        path=str(path),
        host=recording.host_name,
        time_zone=recording.time_zone,
        start=read.start / 1e9,
        end=read.end / 1e9,
        seconds=read.seconds,
        intervals=read.intervals,
        rule_versions=tuple(sorted(read.rule_versions)),
        machines=tuple(machines),
    )


def summary(found: Study) -> tuple[str, ...]:
    """The few sentences that somebody in a hurry reads."""
    totals, told = found.totals, []
    busy = totals.busy
    if busy > 0:
        told.append(
            f"Prefill took {percent(totals.wall['prefill'] / busy)} of the busy time and decode"
            f" {percent(totals.wall['decode'] / busy)}; the machine was busy {percent(found.of_known(busy))} of the"
            f" {duration(found.known)} that are known."
        )
    else:
        told.append("No busy time was measured.")
    names = found.bottlenecks()
    if names:
        name, seconds = names[0]
        told.append(f"It was mostly held by {name}: {duration(seconds)} of {duration(totals.seconds)}.")
    told += [line for line in found.alarms() if line]
    if totals.wall["unknown"] > 0.2 * sum(totals.wall.values()):
        told.append(f"{duration(totals.wall['unknown'])} are unknown: nothing told what they went into.")
    return tuple(told)
