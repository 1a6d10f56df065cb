"""What an engine tells of itself beside its metrics page: its version, and what it was started with.

Metrics pages name neither a version nor, most of them, the length of the context. The engines'
own servers do, at addresses that cost nothing and change nothing. They are asked once for each
start of an engine, after its page was recognised, or when its page is empty, as some are until the
first request. Such answers may hold keys and paths: only what the table names is kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from collectors.engine.catalog import EMPTY_AT_FIRST
from collectors.engine.scrape import Fetcher, PageProblem
from collectors.readings import EngineReading, field_specs
from collectors.text import clean

_KINDS = {spec.name: spec.kind for spec in field_specs(EngineReading)}
_PAGES = ("/prometheus/metrics", "/v1/metrics", "/metrics")
"""Where metrics pages are: what stands before that is the server's own address."""
_NAME_LIMIT = 200
_ANSWER_SECONDS = 30.0
"""A server that drips an answer in is given up after this."""
_TIMES = 3
_AGAIN_SECONDS = 60.0
"""A server under load may not answer in time, and one behind a gate never: it is asked so often, so far apart."""
_UNSAID = ("", "None", "none", "unknown")

Facts = Mapping[str, str | float]
"""Fields of a reading, by name."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One address, and where in its JSON the fields are: keys and positions, joined by dots."""

    path: str
    fields: tuple[tuple[str, str], ...]


def _answer(path: str, **fields: str) -> Answer:
    return Answer(path, tuple(fields.items()))


_MODELS = _answer("/v1/models", model="data.0.id", max_length_tokens="data.0.max_model_len")
_SGLANG = {
    "version": "version",
    "model": "served_model_name",
    "dtype": "dtype",
    "kv_cache_dtype": "kv_cache_dtype",
    "max_length_tokens": "context_length",
    "requests_limit": "max_running_requests",
    "tensor_parallel": "tp_size",
    "pipeline_parallel": "pp_size",
}

ANSWERS: Mapping[str, tuple[Answer, ...]] = {
    "vllm": (_answer("/version", version="version"), _MODELS),
    # The second address is the first one's name in older versions; the new ones log a complaint about it.
    "sglang": (_answer("/server_info", **_SGLANG), _answer("/get_server_info", **_SGLANG), _MODELS),
    "llamacpp": (
        _answer(
            "/props",
            version="build_info",
            model="model_alias",
            dtype="model_ftype",
            max_length_tokens="default_generation_settings.n_ctx",
            requests_limit="total_slots",
        ),
        _answer("/v1/models", model="data.0.id"),
    ),
    "tgi": (
        _answer(
            "/info",
            version="version",
            model="model_id",
            dtype="model_dtype",
            max_length_tokens="max_total_tokens",
            kv_cache_tokens="max_batch_total_tokens",
            requests_limit="max_concurrent_requests",
        ),
    ),
    "trtllm": (_answer("/version", version="version"), _MODELS),
    "nim": (_answer("/v1/version", version="release"), _MODELS),
    "lmdeploy": (_MODELS,),
    "ovms": (_answer("/v2", version="version"),),
}
"""By engine, what to ask, in this order; what an earlier answer told is not asked for again."""

_TELLING: Mapping[str, tuple[str, ...]] = {"tgi": ("max_length_tokens", "kv_cache_tokens")}
"""What no other server tells at these addresses, by engine. (Text embedding servers have an `/info` too.)"""


def server_of(page: str) -> str:
    """The address of the server whose metrics page this is."""
    parts = urlsplit(page)
    path = next((parts.path[: -len(one)] for one in _PAGES if parts.path.rstrip("/").endswith(one)), "")
    return urlunsplit((parts.scheme, parts.netloc, path.rstrip("/"), "", ""))


def can_only_be(engine: str, facts: Facts) -> bool:
    """Whether only this engine tells such things of itself."""
    telling = _TELLING.get(engine, ())
    return bool(telling) and all(field in facts for field in telling)


def read_facts(engine: str, server: str, fetch: Callable[[str], Fetcher]) -> Facts:
    """What an engine's server tells; empty where it tells nothing. `fetch` makes the reader of a URL. Blocks."""
    found: dict[str, str | float] = {}
    for answer in ANSWERS.get(engine, ()):
        if all(field in found for field, _ in answer.fields):
            continue
        fetcher = fetch(server + answer.path)
        try:
            with fetcher.within(_ANSWER_SECONDS):
                document = fetcher.fetch_json()
        except PageProblem as problem:
            if problem.status is None:
                break  # nobody answers, or not in time: no other address will do better
            continue
        finally:
            fetcher.close()
        for field, place in answer.fields:
            value = _value(field, document, place)
            if value is not None:
                found.setdefault(field, value)
    return found


def engine_of_an_empty_page(page: str, fetch: Callable[[str], Fetcher]) -> str | None:
    """The engine behind an empty page, where its server tells and its page may be empty. Blocks."""
    server = server_of(page)
    return next((one for one in EMPTY_AT_FIRST if can_only_be(one, read_facts(one, server, fetch))), None)


def _value(field: str, document: Any, place: str) -> str | float | None:
    at = document
    for step in place.split("."):
        if isinstance(at, list):
            at = at[int(step)] if step.isdecimal() and int(step) < len(at) else None
        else:
            at = at.get(step) if isinstance(at, dict) else None
    if _KINDS[field] == "text":
        text = clean(at, _NAME_LIMIT).strip() if isinstance(at, str) else ""
        return text if text not in _UNSAID else None
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 < at < 1e15:
        return None
    return float(at)


class FactsReader:
    """Asks in a thread of its own, once for each start of an engine, or a few times where it tells nothing."""

    def __init__(
        self, page: str, fetch: Callable[[str], Fetcher], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`page` is the engine's metrics page; `fetch` makes the reader of a URL."""
        self._server = server_of(page)
        self._fetch = fetch
        self._monotonic = monotonic
        self._engine: str | None = None
        self._times = 0
        self._again_at = 0.0
        self.known: Facts = {}
        """What is known by now."""

    def forget(self) -> None:
        """Another engine may be there now."""
        self._engine = None
        self.known = {}

    def ask(self, engine: str) -> None:
        """Begin to ask the engine whose page was just read, unless it has told or is to be asked later."""
        if engine != self._engine:
            self._engine, self._times, self._again_at, self.known = engine, 0, 0.0, {}
        now = self._monotonic()
        if self.known or self._times >= _TIMES or now < self._again_at:
            return
        self._times += 1
        self._again_at = now + _AGAIN_SECONDS
        # A daemon: a server that hangs must not keep the program from ending.
        threading.Thread(target=self._ask, args=(engine,), name=f"facts {self._server}", daemon=True).start()

    def _ask(self, engine: str) -> None:
        facts = read_facts(engine, self._server, self._fetch)
        if self._engine == engine:
            self.known = facts
