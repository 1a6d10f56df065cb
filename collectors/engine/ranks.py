"""Whose each series of a page is: which engine's, and which rank's of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from collectors.engine.catalog import ENGINES_BY_NAME, GATEWAY_ROLE, Engine, locate
from collectors.engine.page import Series

Rank = tuple[str, str]
"""An engine's name in the catalogue, and the rank's index as text."""

_REPLICA = "ReplicaId"
"""The label by which Ray's page of a node tells its replicas apart."""
_WHOLE = ""
"""In the place of a rank's index, where a series has none."""


def ranks(page: Sequence[Series]) -> dict[Rank, list[int]]:
    """The positions on a page of the series of each engine and rank.

    A server gives way to the engine inside it, whose own series are on the same page: otherwise
    everything would be there twice.
    """
    found: dict[tuple[str, str, str], list[int]] = {}
    for position, series in enumerate(page):
        for engine, _ in locate(series.name):
            if not any(series.labels.get(label) for label in engine.part_labels):
                index = (series.labels.get(engine.index_label) if engine.index_label else None) or _WHOLE
                found.setdefault((engine.name, series.labels.get(_REPLICA) or "", index), []).append(position)
    groups = _grouped(found)
    present = {name: ENGINES_BY_NAME[name] for name in dict.fromkeys(name for name, _ in groups)}
    shown = {name for name, engine in present.items() if _is_marked(engine, page)}
    if any(present[name].kind == "engine" for name in shown):
        shown = {name for name in shown if present[name].kind == "engine"}
    return {rank: positions for rank, positions in groups.items() if rank[0] in shown}


def _grouped(found: Mapping[tuple[str, str, str], list[int]]) -> dict[Rank, list[int]]:
    """Positions by rank. What a server counts as a whole is with its first rank: it has none of its own."""
    groups: dict[Rank, list[int]] = {}
    for (engine, replica, own), positions in found.items():
        known = [one for of, by, one in found if (of, by) == (engine, replica) and one != _WHOLE]
        index = own if own != _WHOLE else min(known, key=_in_order, default="0")
        rank = (engine, index if not replica else replica if index == "0" else f"{replica}/{index}")
        groups.setdefault(rank, []).extend(positions)
    return {rank: sorted(positions) for rank, positions in groups.items()}


def _in_order(index: str) -> tuple[int, str]:
    return (int(index[:9]) if index.isascii() and index.isdecimal() else -1, index)


def _is_marked(engine: Engine, page: Iterable[Series]) -> bool:
    """Whether the page has what shows that series of such names are this engine's."""
    if not engine.markers:
        return True
    for series in page:
        own_name = next((name for reader, name in locate(series.name) if reader is engine), None)
        if any(marker.name == own_name and marker.matches(series.labels) for marker in engine.markers):
            return True
    return False


def identity(engine: Engine, values: Iterable[Series]) -> tuple[str | None, str | None]:
    """(model, role) as the labels of a rank's series tell them."""
    model = None
    role = GATEWAY_ROLE if engine.kind == "gateway" else None
    wants_role = engine.role_label is not None
    for series in values:
        if model is None:
            model = next((name for label in engine.model_labels if (name := series.labels.get(label))), None)
        if wants_role and role is None:
            role = (engine.roles or {}).get(series.labels.get(engine.role_label or "", ""))
        if (model or not engine.model_labels) and (role or not wants_role):
            break
    return model if model != "undefined" else None, role
