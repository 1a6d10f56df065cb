"""The statements that add a stretch of a recording up: one row an entity, and for engines a label."""

from __future__ import annotations

from collections.abc import Mapping

from collectors.model import BOTTLENECK_NAMES
from collectors.store_schema import LABEL_SCALE, quoted

ENGINE_AMOUNTS = (
    "prompt_tokens", "prompt_tokens_computed", "prompt_tokens_cached", "prompt_tokens_transferred",
    "generation_tokens", "first_tokens", "steps", "decode_steps", "requests_finished", "requests_failed",
    "requests_rejected", "preemptions", "prefix_cache_queries", "prefix_cache_hits", "kv_transfer_seconds",
    "flops", "read_bytes", "write_bytes", "prefill_seconds", "decode_seconds",
)  # fmt: skip
"""Amounts of engines that are summed, under their own names."""
_HUGE = frozenset({"flops", "read_bytes", "write_bytes"})
"""Summed as real numbers: those of a block may be more than an integer holds."""
ENGINE_GAUGES = ("requests_running", "requests_waiting", "kv_cache_usage_ratio")
"""Gauges of engines summed weighted with seconds: `x` the sum, `x:seconds` its weight."""
GPU_GAUGES = (
    "power_watts", "sm_clock_hertz", "throttle_power_ratio", "throttle_thermal_ratio", "throttle_hardware_ratio",
    "kernel_active_ratio", "tensor_active_ratio", "dram_active_ratio", "memory_active_ratio",
)  # fmt: skip
LATENCIES = ("ttft", "tpot", "e2e", "queue")
KV_FULL = 0.95


class Queries:
    """The statements for one file's columns. Each takes the first and the last interval of a minute."""

    def __init__(self, columns: Mapping[str, set[str]], verdicts: Mapping[int, tuple[str, ...]]) -> None:
        labels = columns["label"]
        self.shares = [name for name in BOTTLENECK_NAMES if _share(name) in labels]
        self.engine_amounts = [name for name in ENGINE_AMOUNTS if name in columns["engine"]]
        self.engine_gauges = [name for name in ENGINE_GAUGES if name in columns["engine"]]
        self.gpu_gauges = [name for name in GPU_GAUGES if name in columns["gpu"]]
        self.latencies = [name for name in LATENCIES if f"{name}_counts" in columns["engine"]]
        self._of = {
            phase: ", ".join(str(number) for number, told in verdicts.items() if told[0] == phase)
            for phase in ("idle", "waiting", "unknown")
        }
        self._tells_unknown = "unknown_ratio" in labels
        self.phases = self._phases()
        shares = "".join(f", sum(l.{_share(name)} * i.seconds)" for name in self.shares)
        self.host = (
            f"SELECT l.verdict, sum(i.seconds), sum(i.seconds * l.busy_ratio * l.error) / {LABEL_SCALE**2}.0{shares}"
            " FROM interval i JOIN label l ON l.sequence = i.sequence"
            " AND l.entity = ? WHERE i.sequence BETWEEN ? AND ? GROUP BY l.verdict"
        )
        self.gpu = self._gpu("energy_joules" in columns["gpu"])
        self.gauges = self._gauges()
        self.engine = self._engine(columns["engine"])

    def _is(self, phase: str) -> str:
        return f"l.verdict IN ({self._of[phase]})"

    def _phases(self) -> str:
        """As `collectors.phase.rules.phase_seconds`, for minutes that were not rolled up or are not whole."""
        busy, share = f"l.busy_ratio / {LABEL_SCALE}.0", f"l.prefill_share / {LABEL_SCALE}.0"
        split = "l.prefill_share IS NOT NULL AND l.busy_ratio IS NOT NULL"
        none = f"l.verdict IS NULL OR l.busy_ratio IS NULL OR {self._is('unknown')}"
        still = f"({self._is('idle')} OR {self._is('waiting')})"
        unknown = f"coalesce(l.unknown_ratio, 0) / {LABEL_SCALE}.0" if self._tells_unknown else "0"
        parts = (
            f"CASE WHEN {split} THEN {busy} * {share} ELSE 0 END",
            f"CASE WHEN {split} THEN {busy} * (1 - {share}) ELSE 0 END",
            f"CASE WHEN {none} THEN 0 WHEN {self._is('idle')} THEN 1 - {unknown} WHEN {self._is('waiting')} THEN 0"
            f" ELSE 1 - {unknown} - {busy} END",
            f"CASE WHEN {none} THEN 0 WHEN {self._is('waiting')} THEN 1 - {unknown} ELSE 0 END",
            f"CASE WHEN {none} THEN 1 WHEN {still} OR {split} THEN {unknown} ELSE {unknown} + {busy} END",
        )
        sums = ", ".join(f"sum(i.seconds * ({part}))" for part in parts)
        return (
            f"SELECT l.entity, {sums} FROM interval i JOIN label l ON l.sequence = i.sequence"
            " WHERE i.sequence BETWEEN ? AND ? GROUP BY l.entity"
        )

    def _gpu(self, has_energy: bool) -> str:
        energy = "r.energy_joules" if has_energy else "NULL"
        unsplit = f"CASE WHEN l.prefill_share IS NULL THEN {energy} END"
        sums = [
            f"sum({energy})",
            f"sum(CASE WHEN l.prefill_share IS NOT NULL THEN {energy} * l.busy_ratio END)",
            f"sum(1.0 * {energy} * l.busy_ratio * l.prefill_share)",
            f"sum(1.0 * {energy} * l.busy_ratio * l.error)",
            f"sum({unsplit})",
            f"sum(CASE WHEN {self._is('idle')} THEN {energy} END)",
            f"sum(CASE WHEN {self._is('waiting')} THEN {energy} END)",
        ]
        return (
            f"SELECT r.entity, r.facts, sum(i.seconds), {', '.join(sums)} FROM interval i"
            " CROSS JOIN gpu r ON r.sequence = i.sequence"  # one look for the interval of all GPUs
            " LEFT JOIN label l ON l.sequence = r.sequence AND l.entity = r.entity"
            " WHERE i.sequence BETWEEN ? AND ? GROUP BY r.entity, r.facts"
        )

    def _gauges(self) -> str:
        sums = []
        for name in self.gpu_gauges:
            column = f"r.{quoted(name)}"
            sums += [f"sum({column} * i.seconds)", f"sum(CASE WHEN {column} IS NOT NULL THEN i.seconds END)"]
        return (
            f"SELECT r.entity, {', '.join(sums)} FROM gpu r JOIN interval i ON i.sequence = r.sequence"
            " WHERE r.sequence BETWEEN ? AND ? GROUP BY r.entity"
        )

    def _engine(self, columns: set[str]) -> str:
        busy = f"i.seconds * l.busy_ratio / {LABEL_SCALE}.0"
        share = f"l.prefill_share / {LABEL_SCALE}.0"
        kv = "r.kv_cache_usage_ratio" if "kv_cache_usage_ratio" in columns else "NULL"
        waiting = "r.requests_waiting" if "requests_waiting" in columns else "NULL"
        sums = [
            "sum(i.seconds)",
            f"sum({busy} * {share})",
            f"sum({busy} * (1 - {share}))",
            f"sum({busy} * l.error / {LABEL_SCALE}.0)",
            f"max({kv})",
            f"max({waiting})",
            f"sum(CASE WHEN {kv} >= {KV_FULL} * 10000 THEN i.seconds WHEN {kv} IS NOT NULL THEN 0 END)",
            f"sum(CASE WHEN {waiting} > 0 THEN i.seconds WHEN {waiting} IS NOT NULL THEN 0 END)",
        ]
        sums += [f"sum({'1.0 * ' * (name in _HUGE)}r.{quoted(name)})" for name in self.engine_amounts]
        for name in self.engine_gauges:
            column = f"r.{quoted(name)}"
            sums += [f"sum({column} * i.seconds)", f"sum(CASE WHEN {column} IS NOT NULL THEN i.seconds END)"]
        for name in self.latencies:
            layout, counts = f"r.{name}_layout", f"group_concat(r.{name}_counts)"
            sums += [f"min({layout})", f"max({layout})", counts, f"sum(r.{name}_sum)"]
        return (
            f"SELECT r.entity, r.facts, l.verdict, {', '.join(sums)} FROM engine r"
            " JOIN interval i ON i.sequence = r.sequence"
            " LEFT JOIN label l ON l.sequence = r.sequence AND l.entity = r.entity"
            " WHERE r.sequence BETWEEN ? AND ? GROUP BY r.entity, r.facts, l.verdict"
        )


def _share(name: str) -> str:
    return "share_" + name.replace("-", "_")
