"""Taking the names out of a recording before it is given away.

Names of hosts, models, users, network links and programs become `host-1`, `model-1`, `user-1`, `link-1`,
`program-1`, the same name always the same word, so that what belongs together still does. Command lines, pods
and the words of people's notes go. Everything measured stays, and so do the names of products (of GPUs, of
engines, their versions and their programs) and the identifiers of GPUs. `POLICY` says it for each text of a
reading; a text that it does not know goes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit, urlunsplit

from collectors.model import Bottleneck, Event, Gap, GpuProcess, Interval, Label, Tick
from collectors.readings import EngineReading, GpuReading, HostReading, Reading, field_specs

_HERE = {"localhost", "127.0.0.1", "::1"}
"""Addresses that name no machine."""
Policy = Literal["keep", "text", "endpoint", "host", "model", "link", "program"]
"""What becomes of a text: it stays; names in it that are known are replaced; or it is a name itself, of that kind."""

POLICY: Mapping[type[Reading], Mapping[str, Policy]] = {
    HostReading: {"name": "host", "numa_cpus": "keep", "network_interfaces": "link", "rdma_ports": "link"},
    GpuReading: {
        **dict.fromkeys(
            (
                "uuid", "name", "source", "page_fields", "parent", "instance", "state", "recovery_action", "xid_codes",
                "peak_source",
            ),
            "keep",
        ),
        "note": "text",
    },
    EngineReading: {
        **dict.fromkeys(
            ("engine_index", "engine", "role", "version", "dtype", "kv_cache_dtype", "late_fields", "state", "gpus"),
            "keep",
        ),
        "endpoint": "endpoint",
        "model": "model",
        "processes": "program",
        "process_threads": "program",
    },
}  # fmt: skip
_PROGRAMS = re.compile(
    r"python[\d.]*|VLLM::.*|sglang::.*|ray::.*|llama-server|tritonserver|text-generation-.*|trtllm.*|pt_.*|uvloop|asyncio",
    re.IGNORECASE,
)
"""Programs and threads of engines, whose names are those of products."""
_NOTE = "note (its words were taken out)"

T = TypeVar("T")
R = TypeVar("R", HostReading, GpuReading, EngineReading)


_TEXTS = {reading: tuple(spec.name for spec in field_specs(reading) if spec.unit == "text") for reading in POLICY}
"""The fields of a reading that hold text, alone or in lists."""


class Redactor:
    """Gives ticks and what goes with them without names. Words for names are handed out as they come."""

    def __init__(self) -> None:
        self._words: dict[str, dict[str, str]] = {}
        self._known: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def host(self, name: str) -> str:
        return self._word("host", name)

    def tick(self, tick: Tick) -> Tick:
        interval = self._interval(tick.interval)
        return Tick(
            interval,
            {self.text(entity): self._label(label) for entity, label in tick.labels.items()},
            tuple(self._label(label) for label in tick.settled),
            tuple(self._event(event) for event in tick.events),
            {self.text(entity): costs for entity, costs in tick.costs.items()},
        )

    def state(self, value: T) -> T:
        """JSON with the names that are known by now replaced, in keys and values."""
        replaced: Any = value
        if isinstance(value, str):
            replaced = self.text(value)
        elif isinstance(value, Mapping):
            replaced = {self.text(str(key)): self.state(one) for key, one in value.items()}
        elif isinstance(value, list | tuple):
            replaced = [self.state(one) for one in value]
        return replaced  # type: ignore[no-any-return]

    def text(self, text: str) -> str:
        """A text with the names that are known by now replaced."""
        if not self._known:
            return text
        if self._pattern is None:
            names = sorted(self._known, key=len, reverse=True)  # a name may be part of another
            self._pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, names)) + r")(?!\w)")
        return self._pattern.sub(lambda found: self._known[found.group()], text)

    def _word(self, kind: str, name: str) -> str:
        words = self._words.setdefault(kind, {})
        word = words.get(name)
        if word is None:
            word = words[name] = f"{kind}-{len(words) + 1}"
            if name:
                self._known[name] = word
                self._pattern = None
        return word

    def _endpoint(self, endpoint: str) -> str:
        """The address of a page with its machine replaced; a file's name becomes a word."""
        try:
            parts = urlsplit(endpoint)
            name, port = parts.hostname, parts.port
        except ValueError:
            return self._word("page", endpoint)
        if not parts.scheme or not name:
            return self._word("page", endpoint)
        word = name if name in _HERE else self._word("host", name)
        place = f"[{word}]" if ":" in word else word
        kept = urlunsplit((parts.scheme, place if port is None else f"{place}:{port}", parts.path, "", ""))
        if endpoint != kept and endpoint not in self._known:
            self._known[endpoint] = kept
            self._pattern = None
        return kept

    def _interval(self, interval: Interval) -> Interval:
        host = None if interval.host is None else self._reading(interval.host)
        engines = [self._reading(engine) for engine in interval.engines.values()]
        return replace(
            interval,
            host=host,
            gpus={uuid: self._reading(gpu) for uuid, gpu in interval.gpus.items()},
            engines={engine.key: engine for engine in engines},
            gaps=tuple(Gap(self.text(gap.source), self.text(gap.reason)) for gap in interval.gaps),
            gpu_processes={
                uuid: tuple(self._process(process) for process in processes)
                for uuid, processes in interval.gpu_processes.items()
            },
        )

    def _reading(self, reading: R) -> R:
        policies = POLICY[type(reading)]
        changes: dict[str, Any] = {}
        for name in _TEXTS[type(reading)]:
            value = getattr(reading, name)
            if value is not None and policies.get(name) != "keep":
                changes[name] = self._replaced(value, policies.get(name))
        return replace(reading, **changes) if changes else reading

    def _replaced(self, value: str | tuple[str | None, ...], policy: Policy | None) -> Any:
        if policy is None:
            return None
        if isinstance(value, tuple):
            return tuple(None if one is None else self._replaced(one, policy) for one in value)
        if policy == "text":
            return self.text(value)
        if policy == "endpoint":
            return self._endpoint(value)
        if policy == "program" and _PROGRAMS.fullmatch(value):
            return value
        return self._word(policy, value)

    def _process(self, process: GpuProcess) -> GpuProcess:
        user = None if process.user is None else self._word("user", process.user)
        engine = None if process.engine is None else self._endpoint(process.engine)
        name = None if process.name is None else self._replaced(process.name, "program")
        return replace(process, name=name, user=user, command=None, engine=engine, pod=None)

    def _label(self, label: Label) -> Label:
        return replace(label, entity=self.text(label.entity), bottleneck=self._bottleneck(label.bottleneck))

    def _bottleneck(self, bottleneck: Bottleneck) -> Bottleneck:
        advice = tuple(self.text(one) for one in bottleneck.advice)
        return replace(bottleneck, why=self.text(bottleneck.why), advice=advice)

    def _event(self, event: Event) -> Event:
        text = _NOTE if event.kind == "note" else self.text(event.text)
        return replace(event, entity=self.text(event.entity), text=text)
