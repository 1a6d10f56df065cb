"""What a report needs besides a recording: prices and promises."""

from __future__ import annotations

from dataclasses import dataclass, field

from collectors.slo import SloBook

_HOUR, _KILOWATT_HOUR = 3600.0, 3.6e6


@dataclass(frozen=True, slots=True)
class Prices:
    """`gpu_hour` for one GPU, without electricity where `electricity` (a kWh) is not 0; `pue` is the energy of
    the whole building for each joule of its computers (power usage effectiveness)."""

    gpu_hour: float = 2.5
    electricity: float = 0.0
    pue: float = 1.3
    currency: str = "USD"

    def money(self, gpu_seconds: float, joules: float | None) -> float:
        """What GPU time and its energy cost; without known energy, the time alone."""
        return gpu_seconds / _HOUR * self.gpu_hour + (joules or 0.0) * self.pue / _KILOWATT_HOUR * self.electricity


@dataclass(frozen=True, slots=True)
class Settings:
    prices: Prices = field(default_factory=Prices)
    promises: SloBook = field(default_factory=SloBook)

    def in_words(self) -> tuple[tuple[str, str], ...]:
        """What the report was computed with, for whoever reads it."""
        prices = self.prices
        told = [
            ("GPU hour", f"{prices.gpu_hour:g} {prices.currency}"),
            ("electricity", f"{prices.electricity:g} {prices.currency}/kWh" if prices.electricity else "included"),
            ("PUE", f"{prices.pue:g}"),
        ]
        for name, slo in (("", self.promises.common), *sorted(self.promises.models.items())):
            for latency, objective in (("TTFT", slo.ttft), ("TPOT", slo.tpot)):
                if objective is not None:
                    title = f"SLO {latency} {name}".strip()
                    told.append((title, f"{objective.name} within {objective.seconds:g} s"))
        return tuple(told)
