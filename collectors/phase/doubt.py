"""How far a share may be off: one standard deviation, such that two in three true shares lie within it.

Four things make a calibrated share wrong. The costs: what the windows leave open of them, given what was
likely beforehand. What no cost explains: prompts of one length take longer than those of another, and it
matters most where both phases take time. The edges: a step or a prompt that was under way at an interval's
edge is counted on one side of it; the engine's own recent intervals show how much that comes to.
And what is missing: steps that were guessed from tokens.
"""

from __future__ import annotations

from math import hypot, sqrt

from collectors.phase.conclude import Split
from collectors.phase.costs import SURE_WINDOWS, CostModel
from collectors.phase.evidence import Observation

_LEAST = 0.006
_COSTS = 0.3
"""Of what the fit leaves open of the decode time: what is likely beforehand is mostly nearer than it has to be."""
_MOST_PREFILL = 0.95
_UNEVEN = 0.022
"""What one interval's work costs more or less than another's, in shares where both phases take equal time..."""
_UNEVEN_BY_MISFIT = 1.3
"""... and the same for what the fit leaves unexplained of its windows."""
_UNEXPLAINED_STEPS = 0.5
"""Part of an interval's misfit that is decode time counted on the wrong side of an edge, at most."""
_COLD = 0.5
"""Relative error of a prompt token's cost while hardly any windows are known; it shrinks as they become enough."""
_STEP_EDGE = 0.4
"""Steps by which the decode time of an interval is off: one under way at either edge, evenly distributed."""
_MISFIT = 0.35
"""Part of an interval's misfit that is an error of its share."""
_GUESSED_STEPS = 0.02
_MEMORY_SECONDS, _LEAST_WEIGHT = 60.0, 0.02


def stated_error(one: Split, seen: Observation, model: CostModel, misfit: float | None) -> float:
    """The stated error of a split's share.

    `misfit` is the root-mean-square of what the costs did not explain in recent intervals, relative
    to their busy time; None while there were none.
    """
    share = one.share
    if not one.calibrated or share is None:
        return one.error
    both = max(0.0, share * (1.0 - share))
    decode = (1.0 - share) / (1.0 - min(_MOST_PREFILL, model.prefill_share))
    costs = _COSTS * model.decode_error * decode + _COLD * max(0.0, 1.0 - model.windows / SURE_WINDOWS) * both
    uneven = (_UNEVEN + _UNEVEN_BY_MISFIT * model.error) * sqrt(both)
    unexplained = model.error if misfit is None else misfit
    if seen.steps and (one.measured or (seen.busy is None and seen.runs_throughout)):
        edges = min(_UNEXPLAINED_STEPS * unexplained, _STEP_EDGE * one.decode / seen.steps / one.busy)
    else:
        edges = _MISFIT * unexplained * 2.0 * sqrt(both)
    guessed = _GUESSED_STEPS * 2.0 * sqrt(both) if seen.guessed_steps else 0.0
    return min(0.5, hypot(_LEAST, costs, uneven, edges, guessed))


def updated_misfit(before: float | None, one: Split, seen: Observation, model: CostModel) -> float | None:
    """The misfit with one more interval: its newest minute counts most."""
    if not one.calibrated or one.busy < 0.2 * seen.seconds or not (seen.prompt or one.prefill):
        return before
    done = model.decode_seconds(seen.steps or 0.0, seen.generated or 0.0, seen.kv_steps)
    done += model.prefill_seconds(seen.prompt or 0.0)
    square = max(-1.0, min(1.0, 1.0 - done / one.busy)) ** 2
    if before is None:
        return sqrt(square)
    weight = max(_LEAST_WEIGHT, min(1.0, seen.seconds / _MEMORY_SECONDS))
    return sqrt(before * before + (square - before * before) * weight)
