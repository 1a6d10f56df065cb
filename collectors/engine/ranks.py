"""Whose each series of a page is: which engine's, and which rank's of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from collectors.engine.catalog import ENGINES_BY_NAME, GATEWAY_ROLE, Engine, locate
from collectors.engine.page import Series

Rank = tuple[str, str]
"""An engine's name in the catalogue, and the rank's index as text."""

_REPLICA = "ReplicaId"
"""The label by which Ray's page of a node tells its replicas apart."""


def ranks(page: Sequence[Series]) -> dict[Rank, list[int]]:
    """The positions on a page of the series of each engine and rank.

    A server gives way to the engine inside it, whose own series are on the same page: otherwise
    everything would be there twice.
    """
    groups: dict[Rank, list[int]] = {}
    for position, series in enumerate(page):
        for engine, _ in locate(series.name):
            if not any(series.labels.get(label) for label in engine.part_labels):
                groups.setdefault((engine.name, _index(engine, series)), []).append(position)
    present = {name: ENGINES_BY_NAME[name] for name in dict.fromkeys(name for name, _ in groups)}
    shown = {name for name, engine in present.items() if _is_marked(engine, page)}
    if any(present[name].kind == "engine" for name in shown):
        shown = {name for name in shown if present[name].kind == "engine"}
    return {rank: positions for rank, positions in groups.items() if rank[0] in shown}


def _index(engine: Engine, series: Series) -> str:
    labels = series.labels
    index = (labels.get(engine.index_label) if engine.index_label else None) or "0"
    replica = labels.get(_REPLICA)
    if not replica:
        return index
    return replica if index == "0" else f"{replica}/{index}"


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
