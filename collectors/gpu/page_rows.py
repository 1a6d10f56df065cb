"""The terms in which the pages of accelerator exporters are described, and what their tables share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Combine = Literal["first", "sum", "mean", "max", "whole"]
"""How several series of one GPU make one value. `whole`: the series of the GPU itself, else the sum of its parts."""

Values = dict[str, float]

MIB = 1024.0 * 1024.0


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One value. The first of `families` that has it wins; `where` are labels a series must carry.

    `factor` turns the family's unit into the field's. `counted` values are totals: of a field that
    is an amount the growth counts, of any other the growth per second. A name that begins with `_`
    is no field and only for the exporter's `complete`.
    """

    name: str
    """The field of GpuReading."""
    families: tuple[str, ...]
    factor: float = 1.0
    counted: bool = False
    where: Mapping[str, str] = field(default_factory=dict)
    combine: Combine = "first"


@dataclass(frozen=True, slots=True)
class GpuIdentity:
    """Which GPU a series is of. `instance` is the GPU instance's id (MIG) and `part` a tile of the GPU, if any."""

    uuid: str
    index: int | None = None
    name: str | None = None
    instance: str | None = None
    profile: str | None = None
    part: str | None = None


@dataclass(frozen=True, slots=True)
class Exporter:
    """One kind of page."""

    source: str
    title: str
    rows: tuple[Row, ...]
    identity: Callable[[Mapping[str, str]], GpuIdentity | None]
    port: int | None = None
    driver: tuple[str, ...] = ()
    """Files one of which is there where the maker's driver is; the port is asked only then. Empty: always."""
    complete: Callable[[Values], None] = lambda values: None
    is_blank: Callable[[float], bool] = lambda value: False


def labelled(labels: Mapping[str, str], *names: str) -> str | None:
    return next((labels[name] for name in names if labels.get(name)), None)


def number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 6 else None


def percent(name: str, *families: str, combine: Combine = "first", where: Mapping[str, str] | None = None) -> Row:
    return Row(name, families, 0.01, combine=combine, where=where or {})
