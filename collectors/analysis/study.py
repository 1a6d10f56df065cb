"""What was read, as all sections of a report see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from collectors.analysis.blocks import total
from collectors.analysis.deployment import ALONE_ERROR, Plan, plan
from collectors.analysis.figures import Figure, Unit
from collectors.analysis.interference import Interference, interference
from collectors.analysis.measures import BY_KEY
from collectors.analysis.read import Absent, Origin, Read
from collectors.analysis.settings import Settings
from collectors.analysis.sums import ratio
from collectors.analysis.tables import read
from collectors.analysis.totals import Totals
from collectors.analysis.watts import Watts, watts
from collectors.analysis.words import duration, percent, quantile
from collectors.model import Confidence
from collectors.phase.calibrate import UNCALIBRATED, CostModel
from collectors.replay import Recording
from collectors.strip import StripColumn

_COLUMNS = 180
GOODPUT_FIELDS = (("ttft", "TTFT"), ("tpot", "TPOT"))


@dataclass(frozen=True, slots=True)
class Nothing(Exception):
    """There is nothing in the stretch of time asked for."""


@dataclass
class Study:
    """What was read, and what sections ask of it more than once."""

    read: Read
    settings: Settings
    strip: Sequence[StripColumn] = ()
    """The machine's phases over time, finer than the blocks of a short recording."""
    origin: Origin = field(default_factory=Origin)

    @cached_property
    def totals(self) -> Totals:
        return Totals(total(self.read.blocks), self.read.roster)

    def each(self) -> Iterator[Totals]:
        """The blocks in order of time, each as totals."""
        for block in self.read.blocks:
            yield Totals(block, self.read.roster)

    @property
    def subject(self) -> str:
        """Of whom the phases and bottlenecks are told."""
        return "nodes" if self.read.nodes else "machine"

    def why(self, what: Absent, otherwise: str) -> str:
        """Why something is missing: because the source never holds it, or what is so otherwise."""
        return self.read.absent.get(what, otherwise)

    @property
    def known(self) -> float:
        """Seconds of the machine that are not unknown."""
        return sum(self.totals.wall.values()) - self.totals.wall["unknown"]

    def of_known(self, seconds: float) -> float:
        return seconds / self.known if self.known else 0.0

    def measure(
        self, key: str, *, evidence: str, confidence: Confidence | None = None, missing: str = "not measured",
        note: str = "",
    ) -> Figure:  # fmt: skip
        """One of the measures as a figure; `missing` is said where it has no value."""
        told = BY_KEY[key]
        value = told.compute(self.totals, self.settings)
        return figure(key, told.title, value, told.unit, evidence, confidence, missing=missing, note=note)

    # What several sections ask.

    def bottlenecks(self) -> list[tuple[str, float]]:
        """Headlines by the seconds each had, the longest first."""
        found = [(str(key[1]), value) for key, value in self.totals.sums.items() if key[0] == "bottleneck"]
        return sorted(found, key=lambda item: -item[1])

    def resource(self, name: str) -> float | None:
        """Seconds the machine was limited by a resource; None where no partition of time was known."""
        if not any(key[0] == "resource" for key in self.totals.sums):
            return None
        return self.totals.sums.get(("resource", name), 0.0)

    @cached_property
    def models(self) -> dict[str, list[str]]:
        """Engines by what they serve, of those that worked."""
        return {
            title: engines
            for title, engines in self.read.roster.models().items()
            if any(self.totals.sums.get(("engine", one, "seconds")) for one in engines)
        }

    def of(self, title: str) -> str:
        """The model's name for a figure's title; nothing where there is but one."""
        return f", {title}" if len(self.models) > 1 else ""

    @cached_property
    def delays(self) -> dict[str, Interference | None]:
        """Interference by model."""
        rows = [block.sums for block in self.read.blocks]
        return {title: interference(self.totals.sums, engines, rows) for title, engines in self.models.items()}

    def costs(self, engines: list[str]) -> CostModel:
        """Calibrated costs of a model: of the engine whose are the surest."""
        known = [self.read.costs[one] for one in engines if one in self.read.costs]
        return max(known, key=lambda one: (one.knows_decode, one.windows, -one.error), default=UNCALIBRATED)

    def plan(self, title: str, batch: float | None = None) -> Plan | None:
        engines = self.models[title]
        objective = self.settings.promises.of(title).tpot
        promised = None if objective is None else objective.seconds
        return plan(self.totals, engines, self.costs(engines), promised, batch)

    @cached_property
    def watts(self) -> Watts | None:
        return watts(self.totals.sums, [block.sums for block in self.read.blocks])

    @property
    def has_error(self) -> bool:
        """Whether the source states the error of its shares."""
        return "doubt" not in self.read.absent

    def split_error(self, seconds: float) -> float | None:
        """One standard deviation of the prefill part of some busy seconds, if all intervals erred to the same side."""
        doubt, busy = self.totals.sums.get(("doubt",)), self.totals.busy
        return None if doubt is None or busy <= 0 else doubt / busy * seconds

    def shapley_error(self, engines: list[str]) -> float | None:
        """One standard deviation of the Shapley share of some engines: half of each of the two splits' errors."""
        split, alone, tokens = (
            self.totals.busy_split(engines),
            self.totals.alone(engines),
            self.totals.computed(engines),
        )
        marginal = None if split is None else self.split_error(sum(split))
        if split is None or marginal is None or alone is None or not tokens or sum(split) <= 0:
            return None
        doubt = max(ALONE_ERROR, self.costs(engines).error) * alone * tokens
        return ratio((marginal**2 + doubt**2) ** 0.5 / 2, sum(split))

    @cached_property
    def full(self) -> list[tuple[float, float, float]]:
        """Stretches with a full KV cache: start and end in seconds since 1970, and seconds full."""
        found: list[list[float]] = []
        for block in self.read.blocks:
            seconds = sum(v for key, v in block.sums.items() if key[0] == "engine" and key[2] == "kv-full-seconds")
            if seconds <= 0:
                continue
            if found and found[-1][1] == block.start / 1e9:
                found[-1][1], found[-1][2] = block.end / 1e9, found[-1][2] + seconds
            else:
                found.append([block.start / 1e9, block.end / 1e9, seconds])
        return [(one[0], one[1], one[2]) for one in found]

    def alarms(self) -> Iterator[str]:
        """What needs a person."""
        totals, seconds = self.totals, self.totals.machine_seconds
        host, power = self.resource("host"), self.resource("power")
        if host and host >= 0.15 * seconds:
            yield f"The GPUs waited for the host for {duration(host)} ({percent(host / seconds)} of the time)."
        if power and power >= 0.10 * seconds:
            yield f"Power or heat held the clocks down for {duration(power)} ({percent(power / seconds)} of the time)."
        kept_out = totals.sums.get(("admission", "kv-capacity"))
        if kept_out and kept_out >= 0.01 * seconds:
            yield f"A full KV cache kept requests waiting for {duration(kept_out)}."
        limited = totals.sums.get(("admission", "scheduler"))
        if limited and limited >= 0.05 * seconds:
            yield f"The engine's own limits kept requests waiting for {duration(limited)}."
        for latency, name in GOODPUT_FIELDS:
            yield from self._missed(latency, name)

    def _missed(self, latency: str, name: str) -> Iterator[str]:
        for title, engines in self.models.items():
            objective = self.settings.promises.of(title).of(latency)
            histogram = self.totals.histogram(latency, engines)
            if objective is None or objective.met(histogram) is not False or histogram is None:
                continue
            yield (
                f"{title} missed its promise on {name}: {objective.name} {quantile(histogram, objective.quantile)},"
                f" promised {objective.seconds:g} s."
            )


def study(
    recording: Recording,
    settings: Settings,
    from_ns: int | None = None,
    to_ns: int | None = None,
    *,
    seen: Callable[[int], None] = lambda _: None,
) -> Study:
    """Reads a recording once. Raises Nothing for a stretch without an interval, RecordingError."""
    found = read(recording.paths, from_ns, to_ns, seen=seen)
    if not found.blocks:
        raise Nothing
    lengths = (found.end - found.start) / 1e9 / recording.interval_length
    columns = min(_COLUMNS, int(lengths))
    strip = recording.strip(found.start, found.end, columns) if columns > len(found.blocks) else ()
    return Study(found, settings, strip, Origin(str(recording.path), recording.host_name, recording.time_zone))


def figure(
    key: str,
    title: str,
    value: float | None,
    unit: Unit,
    evidence: str = "",
    confidence: Confidence | None = None,
    *,
    error: float | None = None,
    bounds: tuple[float, float] | None = None,
    missing: str | None = None,
    note: str = "",
) -> Figure:
    """A figure; without a value it has neither evidence nor confidence, but says what was missing.

    `error` is a standard deviation, `bounds` are those of a bootstrap.
    """
    if value is None:
        return Figure(key, title, None, unit, missing=missing or "not measured", note=note)
    low = high = None
    if bounds is not None:
        low, high = bounds
    elif error is not None:
        low, high = max(0.0, value - error), value + error
    return Figure(key, title, value, unit, evidence, confidence, low, high, None, note)
