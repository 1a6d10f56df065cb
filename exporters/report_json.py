"""A report, or the difference of two, as JSON. `schema` is raised when a field is renamed."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from collectors.analysis.figures import Change, Difference, Report


def report_json(report: Report) -> str:
    return _written(asdict(report))


def difference_json(difference: Difference) -> str:
    """As the value, with each change's difference and relative difference."""
    told = asdict(difference)
    for name in ("groups", "fingerprint"):
        told[name] = [
            {"title": title, "changes": [_change(change) for change in changes]}
            for title, changes in getattr(difference, name)
        ]
    return _written(told)


def _change(change: Change) -> dict[str, Any]:
    return {**asdict(change), "difference": change.difference, "relative": change.relative}


def _written(value: dict[str, Any]) -> str:
    settings = value.pop("settings")
    value["settings"] = dict(settings)
    return json.dumps(_finite(value), allow_nan=False, ensure_ascii=False, indent=1) + "\n"


def _finite(value: Any) -> Any:
    """JSON has neither infinities nor NaN: what is no number is missing."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
