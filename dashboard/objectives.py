"""The configured latency objectives, as `collectors.slo` judges them."""

from __future__ import annotations

from collections.abc import Mapping

from collectors.slo import Objective, Slo, SloBook
from dashboard.config import Slo as Settings


def slo_book(settings: Settings) -> SloBook:
    """The objectives of every model: what is not set for one is as for all."""
    common = {"ttft": settings.ttft, "tpot": settings.tpot}
    models = {model: _slo({**common, **limits}, settings) for model, limits in settings.models.items()}
    return SloBook(_slo(common, settings), models)


def _slo(limits: Mapping[str, float | None], settings: Settings) -> Slo:
    ttft, tpot = limits["ttft"], limits["tpot"]
    return Slo(
        ttft=None if ttft is None else Objective(ttft, settings.ttft_quantile),
        tpot=None if tpot is None else Objective(tpot, settings.tpot_quantile),
    )
