"""Two recordings, or two stretches of one, side by side: what changed, and whether it is more than noise."""

from __future__ import annotations

from collections.abc import Sequence

from collectors.analysis.blocks import Block, Key, total
from collectors.analysis.bootstrap import FEWEST, SEED, bounds, draws
from collectors.analysis.figures import Change, Difference, Unit
from collectors.analysis.measures import MEASURES, Measure
from collectors.analysis.report import source_of
from collectors.analysis.settings import Settings
from collectors.analysis.study import Study
from collectors.analysis.totals import Totals
from collectors.analysis.words import percent
from collectors.phase.calibrate import CostModel

_BLOCKS = 120
"""Blocks that are drawn from: longer recordings have longer ones."""
_TOLD = 6
"""Changes named in the summary."""
_COSTS: tuple[tuple[str, str, Unit], ...] = (
    ("step", "a decode step (a)", "seconds"),
    ("token", "a sequence in it (b)", "seconds"),
    ("kv_step", "a resident KV token in it (c)", "seconds"),
    ("prompt_token", "a prompt token (d)", "seconds"),
)


def difference(first: Study, second: Study) -> Difference:
    """What changed from the first to the second, with the settings of the first.

    A figure's difference is more than noise when 0 lies outside of the central 95 % of the differences of
    bootstrap draws.
    """
    settings = first.settings
    drawn = _drawn(first, SEED), _drawn(second, SEED + 1)
    changes = [(measure, _change(measure, (first, second), drawn, settings)) for measure in MEASURES]
    groups: dict[str, list[Change]] = {}
    for measure, change in changes:
        if change.a or change.b:  # a figure that is 0 on both sides says nothing
            groups.setdefault(measure.group, []).append(change)
    return Difference(
        source_of(first),
        source_of(second),
        _summary([change for _, change in changes]),
        tuple((title, tuple(rows)) for title, rows in groups.items()),
        tuple(_fingerprint(first, second)),
        settings.in_words(),
        _notes(first, second),
    )


def _drawn(found: Study, seed: int) -> list[Totals] | None:
    """Totals of bootstrap draws; None where there are too few blocks."""
    blocks = merged(found.read.blocks, _BLOCKS)
    if len(blocks) < FEWEST:
        return None
    keys: list[Key] = list(found.totals.sums)
    read, most = found.read, found.totals.block.most
    return [
        Totals(Block(read.start, read.end, sums, most), read.roster)
        for sums in draws([block.sums for block in blocks], keys, seed=seed)
    ]


def merged(blocks: Sequence[Block], most: int) -> list[Block]:
    """At most so many blocks, each of several that follow each other."""
    each = -(-len(blocks) // most)
    return [total(blocks[at : at + each]) for at in range(0, len(blocks), each)]


def _change(
    measure: Measure, found: tuple[Study, Study], drawn: tuple[list[Totals] | None, list[Totals] | None],
    settings: Settings,
) -> Change:  # fmt: skip
    a, b = (measure.compute(one.totals, settings) for one in found)
    low = high = None
    is_more: bool | None = None
    if a is not None and b is not None and drawn[0] is not None and drawn[1] is not None:
        pairs = zip(*([measure.compute(one, settings) for one in side] for side in drawn if side), strict=True)
        limits = bounds([right - left for left, right in pairs if left is not None and right is not None])
        if limits is not None:
            low, high = limits
            is_more = a != b and (low > 0 or high < 0)
    return Change(measure.key, measure.title, measure.unit, a, b, low, high, is_more, measure.better)


def _summary(changes: Sequence[Change]) -> tuple[str, ...]:
    """The changes that matter, the largest first, in words."""
    real = [one for one in changes if one.is_more_than_noise and one.relative is not None and one.better is not None]
    if not real:
        told = any(one.is_more_than_noise is not None for one in changes)
        return ("No figure with a good side changed by more than noise.",) if told else (
            "The stretches are too short to tell changes from noise: ten minutes each are needed.",
        )  # fmt: skip
    real.sort(key=lambda one: -abs(one.relative or 0.0))
    lines = []
    for one in real[:_TOLD]:
        is_up = (one.difference or 0.0) > 0
        verdict = "better" if is_up == (one.better == "up") else "worse"
        change = (
            f"{percent(one.a or 0.0)} to {percent(one.b or 0.0)}"
            if one.unit == "ratio"
            else f"{(one.relative or 0.0) * 100:+.0f} %"
        )
        lines.append(f"{verdict}: {one.title}, {change}")
    if len(real) > _TOLD:
        lines.append(f"and {len(real) - _TOLD} more figures below")
    return tuple(lines)


def _fingerprint(a: Study, b: Study) -> list[tuple[str, tuple[Change, ...]]]:
    """The calibrated costs of models that both served. Their error is that of the fit."""
    found = []
    for title in a.models:
        if title not in b.models:
            continue
        left, right = a.costs(a.models[title]), b.costs(b.models[title])
        if not (left.is_sure and right.is_sure):
            continue
        rows = [_cost(name, words, unit, left, right) for name, words, unit in _COSTS]
        found.append((title, tuple(row for row in rows if row.a or row.b)))
    return found


def _cost(name: str, words: str, unit: Unit, left: CostModel, right: CostModel) -> Change:
    a, b = float(getattr(left, name)), float(getattr(right, name))
    doubt = 2.0 * ((left.error * a) ** 2 + (right.error * b) ** 2) ** 0.5
    return Change(name, words, unit, a, b, b - a - doubt, b - a + doubt, abs(b - a) > doubt, "down")


def _notes(a: Study, b: Study) -> tuple[str, ...]:
    notes = [
        "Bounds: 95 % of the differences of 200 seeded bootstrap draws of blocks of"
        f" {_block_words(a)} (A) and {_block_words(b)} (B)."
    ]
    if set(a.models) != set(b.models):
        notes.append("The models served differ.")
    for one, name in ((a, "A"), (b, "B")):
        if len(one.read.rule_versions) > 1:
            notes.append(f"{name} was labelled by several versions of the rules.")
    if a.read.rule_versions != b.read.rule_versions:
        notes.append(
            "The two were labelled by different versions of the rules; shares may differ for that alone."
            " `phasetop dump --relabel --format recording` labels one anew."
        )
    return tuple(notes)


def _block_words(found: Study) -> str:
    blocks = merged(found.read.blocks, _BLOCKS)
    minutes = max(1, round(found.read.seconds / 60 / max(1, len(blocks))))
    return "a minute" if minutes == 1 else f"{minutes} minutes"
