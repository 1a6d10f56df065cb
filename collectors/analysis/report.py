"""What was read as a report: sections of figures."""

from __future__ import annotations

from collections.abc import Callable

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
    return report_of(study(recording, settings, from_ns, to_ns, seen=seen))


def report_of(found: Study) -> Report:
    """All sections that have something to say."""
    sections = tuple(section for make in _SECTIONS if (section := make(found)) is not None)
    return Report(source_of(found), summary(found), sections, found.settings.in_words())


def source_of(found: Study) -> Source:
    read, roster = found.read, found.read.roster
    cards: dict[str, int] = {}
    for gpu in roster.gpus.values():
        if not gpu.is_divided:
            name = gpu.name or "GPU"
            cards[name] = cards.get(name, 0) + gpu.count
    machines = [f"{count} x {name}" if count > 1 else name for name, count in cards.items()]
    for entity, engine in found.totals.engines.items():
        told = [engine.engine or "engine", engine.version or "", engine.model or ""]
        told.append(f"({engine.role})" if read.nodes and engine.role else "" if read.nodes else f"({place_of(entity)})")
        words = " ".join(part for part in told if part)
        machines.append(f"{engine.count} x {words}" if engine.count > 1 else words)
    return Source(
        path=found.origin.path,
        host=found.origin.host,
        time_zone=found.origin.time_zone,
        start=read.start / 1e9,
        end=read.end / 1e9,
        seconds=read.seconds,
        intervals=read.intervals,
        rule_versions=tuple(sorted(read.rule_versions)),
        machines=tuple(machines),
        notes=read.notes,
    )


def place_of(entity: str) -> str:
    """The address of an engine, out of its entity."""
    return entity.partition("/")[2]


def summary(found: Study) -> tuple[str, ...]:
    """The few sentences that somebody in a hurry reads."""
    totals, told = found.totals, []
    busy = totals.busy
    if busy > 0:
        who, of = ("the nodes were", " of node time") if found.read.nodes else ("the machine was", "")
        told.append(
            f"Prefill took {percent(totals.wall['prefill'] / busy)} of the busy time and decode"
            f" {percent(totals.wall['decode'] / busy)}; {who} busy {percent(found.of_known(busy))} of the"
            f" {duration(found.known)}{of} that are known."
        )
    else:
        told.append("No busy time was measured.")
    names = found.bottlenecks()
    if names:
        name, seconds = names[0]
        told.append(f"It was mostly held by {name}: {duration(seconds)} of {duration(totals.machine_seconds)}.")
    told += [line for line in found.alarms() if line]
    if totals.wall["unknown"] > 0.2 * sum(totals.wall.values()):
        told.append(f"{duration(totals.wall['unknown'])} are unknown: nothing told what they went into.")
    return tuple(told)
