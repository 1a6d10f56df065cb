"""The catalogue: every metric family of the page, derived from the tables of the readings.

Names follow the fields: `phasetop_<host|gpu|engine>_<field>`; amounts are `_total` counters,
latencies `_seconds` histograms; text fields stand only in the info families.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from collectors.readings import EngineReading, FieldSpec, GpuReading, HostReading, Reading, field_specs
from exporters.exposition import Family

Scope = Literal["host", "gpu", "engine"]
SCOPES: tuple[Scope, ...] = ("host", "gpu", "engine")

PREFIX = "phasetop"
LABELS: Mapping[Scope, tuple[str, ...]] = MappingProxyType(
    {"host": (), "gpu": ("gpu", "uuid"), "engine": ("endpoint", "engine", "engine_index")}
)
READINGS: Mapping[Scope, type[Reading]] = MappingProxyType(
    {"host": HostReading, "gpu": GpuReading, "engine": EngineReading}
)
STATES: Mapping[Scope, tuple[str, ...]] = MappingProxyType(
    {"gpu": ("ok", "stale", "lost"), "engine": ("ok", "blocked", "stale", "down")}
)

# Fields that name the entity: they are labels, and say nothing as values.
_IDENTITY: frozenset[str] = frozenset({"index", "uuid", "endpoint", "engine", "engine_index", "state"})
# Texts that tell what happened, not what an entity is.
_HAPPENED: frozenset[str] = frozenset({"xid_codes", "note"})
_SUBJECT: Mapping[Scope, str] = {"host": "this machine", "gpu": "a GPU", "engine": "a serving engine"}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _unit_of(name: str, unit: str) -> str:
    return unit if name.endswith(f"_{unit}") else ""


def _reading_family(scope: Scope, spec: FieldSpec) -> Family:
    name = f"{PREFIX}_{scope}_{spec.name}"
    help = f"{_sentence(spec.help)}."
    if spec.kind == "histogram":
        return Family(f"{name}_seconds", "histogram", help, "seconds", LABELS[scope])
    return Family(name, "counter" if spec.kind == "amount" else "gauge", help, _unit_of(name, spec.unit), LABELS[scope])


def _fields(scope: Scope) -> tuple[tuple[FieldSpec, Family], ...]:
    return tuple(
        (spec, _reading_family(scope, spec))
        for spec in field_specs(READINGS[scope])
        if spec.kind not in ("text", "list") and spec.name not in _IDENTITY
    )


FIELDS: Mapping[Scope, tuple[tuple[FieldSpec, Family], ...]] = MappingProxyType(
    {scope: _fields(scope) for scope in SCOPES}
)
"""Per scope, each field that has a value, with its family."""


def _phase_seconds(scope: Scope) -> Family:
    help = (
        f"Settled time of {_SUBJECT[scope]} by what it went into: busy seconds split by share into prefill and decode, "
        "and idle, waiting and unknown seconds."
    )
    return Family(f"{PREFIX}_{scope}_phase_seconds", "counter", help, "seconds", (*LABELS[scope], "phase"))


def _label_seconds(scope: Scope) -> Family:
    help = f"Settled wall time of {_SUBJECT[scope]} by the label of its intervals."
    return Family(f"{PREFIX}_{scope}_phase_label_seconds", "counter", help, "seconds", (*LABELS[scope], "label"))


def _bottleneck_seconds(scope: Scope) -> Family:
    help = f"Settled wall time of {_SUBJECT[scope]} by the bottleneck named for its intervals."
    return Family(f"{PREFIX}_{scope}_bottleneck_seconds", "counter", help, "seconds", (*LABELS[scope], "bottleneck"))


PHASE_SECONDS: Mapping[Scope, Family] = MappingProxyType({scope: _phase_seconds(scope) for scope in SCOPES})
LABEL_SECONDS: Mapping[Scope, Family] = MappingProxyType({scope: _label_seconds(scope) for scope in SCOPES})
BOTTLENECK_SECONDS: Mapping[Scope, Family] = MappingProxyType({scope: _bottleneck_seconds(scope) for scope in SCOPES})

PHASE_JOULES: Mapping[Scope, Family] = MappingProxyType(
    {
        "gpu": Family(
            f"{PREFIX}_gpu_phase_joules",
            "counter",
            "Energy of a GPU in settled intervals, split as the seconds of each interval.",
            "joules",
            (*LABELS["gpu"], "phase"),
        ),
        "engine": Family(
            f"{PREFIX}_engine_phase_joules",
            "counter",
            "Energy in settled intervals of the GPUs an engine has to itself, split as its seconds of each interval.",
            "joules",
            (*LABELS["engine"], "phase"),
        ),
    }
)
PHASE_TOKENS = Family(
    f"{PREFIX}_engine_phase_tokens",
    "counter",
    "Tokens of settled intervals: prompt tokens computed (prefill) and tokens generated (decode).",
    "tokens",
    (*LABELS["engine"], "phase"),
)
STATE: Mapping[Scope, Family] = MappingProxyType(
    {
        "gpu": Family(
            f"{PREFIX}_gpu_state",
            "gauge",
            "1 for the state a GPU is in, 0 for the others; stays when its readings vanish.",
            "",
            (*LABELS["gpu"], "state"),
        ),
        "engine": Family(
            f"{PREFIX}_engine_state",
            "gauge",
            "1 for the state an engine is in, 0 for the others.",
            "",
            (*LABELS["engine"], "state"),
        ),
    }
)


def _info_fields(scope: Scope) -> tuple[str, ...]:
    return tuple(
        spec.name
        for spec in field_specs(READINGS[scope])
        if spec.kind == "text" and spec.name not in _IDENTITY and spec.name not in _HAPPENED
    )


INFO_FIELDS: Mapping[Scope, tuple[str, ...]] = MappingProxyType(
    {"gpu": _info_fields("gpu"), "engine": _info_fields("engine")}
)
INFO: Mapping[Scope, Family] = MappingProxyType(
    {
        "gpu": Family(f"{PREFIX}_gpu", "info", "What a GPU is; always 1.", "", (*LABELS["gpu"], *INFO_FIELDS["gpu"])),
        "engine": Family(
            f"{PREFIX}_engine",
            "info",
            "What a serving engine is; always 1.",
            "",
            (*LABELS["engine"], *INFO_FIELDS["engine"]),
        ),
    }
)
XID_ERRORS = Family(
    f"{PREFIX}_gpu_xid_errors",
    "counter",
    "Error reports of the driver (XIDs) for a GPU, by code.",
    "",
    (*LABELS["gpu"], "xid"),
)
XID_LAST = Family(
    f"{PREFIX}_gpu_xid_last_timestamp_seconds",
    "gauge",
    "When the newest error report of a code came for a GPU, in seconds since 1970.",
    "seconds",
    (*LABELS["gpu"], "xid"),
)
GPU_POD = Family(
    f"{PREFIX}_gpu_pod",
    "info",
    "A Kubernetes container with a process on a GPU; always 1. Only where pod_labels is on.",
    "",
    (*LABELS["gpu"], "namespace", "pod", "container", "pod_uid"),
)
COLLECTOR_LABELS = ("collector", "endpoint")
COLLECTOR_SUCCESS = Family(
    f"{PREFIX}_collector_success",
    "gauge",
    "1 when the source delivered a sample for the newest interval, else 0.",
    "",
    COLLECTOR_LABELS,
)
COLLECTOR_DURATION = Family(
    f"{PREFIX}_collector_duration_seconds",
    "gauge",
    "How long the source's last sample took.",
    "seconds",
    COLLECTOR_LABELS,
)
COLLECTOR_LAST_SAMPLE = Family(
    f"{PREFIX}_collector_last_sample_timestamp_seconds",
    "gauge",
    "When the source last delivered a sample, in seconds since 1970.",
    "seconds",
    COLLECTOR_LABELS,
)
SETTLED_TIMESTAMP = Family(
    f"{PREFIX}_settled_timestamp_seconds",
    "gauge",
    "The phase and bottleneck counters hold every interval up to this moment and none after it, in seconds since 1970.",
    "seconds",
)
BUILD_INFO = Family(
    f"{PREFIX}_build", "info", "What serves this page; always 1.", "", ("version", "rule_version", "python_version")
)


def families() -> tuple[Family, ...]:
    """The whole catalogue, in the order of the page."""
    listed: list[Family] = [BUILD_INFO, COLLECTOR_SUCCESS, COLLECTOR_DURATION, COLLECTOR_LAST_SAMPLE, SETTLED_TIMESTAMP]
    for scope in SCOPES:
        per_scope = (STATE, INFO, PHASE_SECONDS, LABEL_SECONDS, BOTTLENECK_SECONDS, PHASE_JOULES)
        listed += [mapping[scope] for mapping in per_scope if scope in mapping]
        listed += [PHASE_TOKENS] if scope == "engine" else []
        listed += [XID_ERRORS, XID_LAST, GPU_POD] if scope == "gpu" else []
        listed += [family for _, family in FIELDS[scope]]
    return tuple(listed)
