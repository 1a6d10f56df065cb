"""One workload through the product's own path, compared with the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, median

from benchmarks.phasebench.deployment import Instance
from benchmarks.phasebench.inputs import Inputs, Truth, intervals, truths
from benchmarks.phasebench.tables import Card
from collectors.model import Label, engine_entity
from collectors.phase.label import Labeller

WARM_UP_SECONDS = 120.0
_MFU, _MBU = 0.5, 0.6
"""Shares of the data sheet's peaks that the roofline baseline takes as attained."""


@dataclass(frozen=True, slots=True)
class Row:
    """The score of one workload, interval and set of inputs. Shares and errors are ratios.

    `coverage` is how often the true share lay within the stated error, over the intervals where
    there was something to split: where truth and estimate name the same pure phase any error
    covers, and counting them would hide one that is too narrow elsewhere. `coverage_of_all` counts
    them. `abstained` is how often a busy interval got no share.
    """

    workload: str
    interval: float
    inputs: Inputs
    mae: float
    bias: float
    p95: float
    macro_f1: float
    mixed_accuracy: float | None
    coverage: float | None
    delay_seconds: float | None
    baselines: dict[str, float]
    coverage_of_all: float
    error: float
    abstained: float
    intervals: int

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(slots=True)
class _Scored:
    """What was true of one engine's intervals, and what was said, by interval."""

    true: Sequence[Truth]
    counted: Sequence[int]
    settled: dict[int, Label] = field(default_factory=dict)
    provisional: dict[int, Label] = field(default_factory=dict)


def score(name: str, instances: Sequence[Instance], card: Card, interval: float, seconds: float, inputs: Inputs) -> Row:
    """Labels the simulated run from the given inputs and scores the settled labels."""
    true = {one.key: truths(one.steps, interval, seconds) for one in instances}
    first = int(WARM_UP_SECONDS / interval)
    engines: dict[str, _Scored] = {}
    for one in instances:
        counted = [
            index for index in range(first, len(true[one.key])) if one.is_up(index * interval, (index + 1) * interval)
        ]
        engines[engine_entity(one.key)] = _Scored(true[one.key], counted)
    labeller = Labeller()
    for interval_seen in intervals(instances, true, card, interval, inputs):
        tick = labeller.push(interval_seen)
        for entity, scored in engines.items():
            if entity in tick.labels:
                scored.provisional[interval_seen.sequence] = tick.labels[entity]
        _take(engines, tick.settled)
    _take(engines, labeller.flush())
    return _row(name, interval, inputs, list(engines.values()), card)


def _take(engines: Mapping[str, _Scored], labels: Sequence[Label]) -> None:
    for label in labels:
        if label.entity in engines:
            engines[label.entity].settled[label.sequence] = label


def _row(name: str, interval: float, inputs: Inputs, engines: Sequence[_Scored], card: Card) -> Row:
    errors: list[float] = []
    stated: list[float] = []
    open_covered = open_count = covered = asked = abstained = mixed = mixed_right = 0
    confusion: Counter[tuple[str, str]] = Counter()
    for scored in engines:
        for index in scored.counted:
            truth, phase = scored.true[index], scored.settled[index].phase
            confusion[truth.label, phase.label] += 1
            share = truth.share
            if share is None:
                continue
            asked += 1
            if 0.3 <= share <= 0.7:
                mixed += 1
                mixed_right += phase.label == truth.label
            if phase.prefill_share is None or phase.error is None:
                abstained += 1
                continue
            error = phase.prefill_share - share
            errors.append(error)
            stated.append(phase.error)
            is_covered = abs(error) <= phase.error
            covered += is_covered
            if not ((share < 0.001 and phase.prefill_share < 0.001) or (share > 0.999 and phase.prefill_share > 0.999)):
                open_count += 1
                open_covered += is_covered
    magnitudes = sorted(abs(error) for error in errors) or [1.0]
    delays = [delay for scored in engines for delay in _delays(scored, interval)]
    return Row(
        workload=name,
        interval=interval,
        inputs=inputs,
        mae=round(fmean(magnitudes), 4),
        bias=round(fmean(errors or [1.0]), 4),
        p95=round(magnitudes[int(0.95 * (len(magnitudes) - 1))], 4),
        macro_f1=round(_macro_f1(confusion), 4),
        mixed_accuracy=round(mixed_right / mixed, 4) if mixed >= 20 else None,
        coverage=round(open_covered / open_count, 4) if open_count >= 20 else None,
        delay_seconds=round(fmean(delays), 2) if delays else None,
        baselines=_baselines(engines, card),
        coverage_of_all=round(covered / max(1, len(errors)), 4),
        error=round(fmean(stated or [1.0]), 4),
        abstained=round(abstained / max(1, asked), 4),
        intervals=asked,
    )


def _macro_f1(confusion: Counter[tuple[str, str]]) -> float:
    """Mean F1 over the labels that truly occur at least a hundredth of the time."""
    total = confusion.total()
    scores: list[float] = []
    for label in {truth for truth, _ in confusion}:
        support = sum(count for (truth, _), count in confusion.items() if truth == label)
        if support < 0.01 * total:
            continue
        right = confusion[label, label]
        said = sum(count for (_, given), count in confusion.items() if given == label)
        scores.append(2 * right / (support + said) if support + said else 0.0)
    return fmean(scores) if scores else 0.0


def _delays(scored: _Scored, interval: float) -> list[float]:
    """Seconds from a lasting change of the true label until the provisional label shows it, for each such change."""
    hold = max(1, round(5.0 / interval))
    true = scored.true
    delays: list[float] = []
    for index in range(max(hold, int(WARM_UP_SECONDS / interval)), len(true) - hold):
        before = {one.label for one in true[index - hold : index]}
        after = {one.label for one in true[index : index + hold]}
        if len(before) == len(after) == 1 and before != after:
            wanted = after.pop()
            late = next((n for n in range(4 * hold) if _says(scored.provisional.get(index + n), wanted)), 4 * hold)
            delays.append((late + 1) * interval)
    return delays


def _says(label: Label | None, wanted: str) -> bool:
    return label is not None and label.phase.label == wanted


def _baselines(engines: Sequence[_Scored], card: Card) -> dict[str, float]:
    """Mean absolute errors of three guesses over the same intervals.

    The constant is the best one, known only afterwards. The roofline takes operations and bytes of
    the model from its size, and half and 60 % of what the data sheet promises.
    """
    rows = [scored.true[index] for scored in engines for index in scored.counted]
    shares = [(row, share) for row in rows if (share := row.share) is not None]
    if not shares:
        return {}
    constant = median(share for _, share in shares)

    def mae(guess: Callable[[Truth], float]) -> float:
        return round(fmean(abs(guess(row) - share) for row, share in shares), 4)

    found = {
        "constant": mae(lambda row: constant),
        "token_share": mae(lambda row: row.prompt_tokens / max(1.0, row.prompt_tokens + row.generated)),
    }
    if card.parameters and card.peaks.tensor and card.peaks.dram:
        found["roofline"] = mae(lambda row: _roofline(row, card))
    return found


def _roofline(row: Truth, card: Card) -> float:
    flops, bandwidth = card.peaks.tensor or 1.0, card.peaks.dram or 1.0
    prefill = 2 * (card.parameters or 0.0) * row.prompt_tokens / (_MFU * flops)
    decode = row.decode_steps * 2 * (card.parameters or 0.0) / (_MBU * bandwidth)
    return prefill / (prefill + decode) if prefill + decode else 0.0
