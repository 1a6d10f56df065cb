"""What each serving engine's page means: which series is which field, and when it moves.

This is data: adding an engine is adding a table.
"""

from __future__ import annotations

from collections.abc import Mapping

from collectors.engine.catalog.llamacpp import LLAMACPP
from collectors.engine.catalog.lookup import Catalog
from collectors.engine.catalog.others import DYNAMO, DYNAMO_WORKER, LMDEPLOY, MLC, NIM, OVMS, TGI
from collectors.engine.catalog.sglang import SGLANG
from collectors.engine.catalog.table import (
    GATEWAY_ROLE,
    LATE,
    MOVES,
    UNASSURED,
    WITHIN_INTERVAL,
    Alternative,
    Engine,
    Moves,
    Row,
    Selector,
)
from collectors.engine.catalog.trtllm import TRITON, TRTLLM
from collectors.engine.catalog.vllm import VLLM

__all__ = [
    "EMPTY_AT_FIRST",
    "ENGINES",
    "ENGINES_BY_NAME",
    "GATEWAY_ROLE",
    "LATE",
    "MOVES",
    "UNASSURED",
    "WITHIN_INTERVAL",
    "Alternative",
    "Engine",
    "Moves",
    "Row",
    "Selector",
    "is_wanted",
    "locate",
]

ENGINES: tuple[Engine, ...] = (
    VLLM, SGLANG, LLAMACPP, TGI, TRTLLM, TRITON, LMDEPLOY, NIM, MLC, OVMS, DYNAMO, DYNAMO_WORKER,
)  # fmt: skip
ENGINES_BY_NAME: Mapping[str, Engine] = {engine.name: engine for engine in ENGINES}
EMPTY_AT_FIRST = frozenset(engine.name for engine in ENGINES if engine.empty_at_first)
"""The engines whose page has nothing on it until their first request."""

_CATALOG = Catalog(ENGINES)
locate = _CATALOG.locate
is_wanted = _CATALOG.is_wanted
