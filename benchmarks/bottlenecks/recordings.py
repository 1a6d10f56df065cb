"""Public recordings of real engines as intervals: what each file says, and nothing that it does not.

Three forms are read, wherever below the data directory they lie:

- `metrics_engine_server_N.csv` with `metrics_gpu_device_nvidia_smi_*_server_N.csv`, one pair an
  engine, all on one H100 64 GB (vLLM 0.5). The limit of sequences is in the directory's name.
- `*_tidy.csv`: a GPU's NVML figures and one vLLM's counters, a row a second.
- `timeseries.csv` with `meta.json`: token rates and queue lengths of one vLLM, without a GPU's figures.
"""

from __future__ import annotations

import csv
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from collectors.gpu.peaks import peaks
from collectors.model import EngineKey, Interval
from collectors.readings import EngineReading, GpuReading, rounded

_SECOND = 1_000_000_000
_EPOCH = 1_700_000_000 * _SECOND
_GPU = "GPU-0"
_MEGABYTE = 1e6

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a card beside what was recorded: watts, hertz."""

    name: str
    power_limit: float | None
    clock_max: float | None


_H100_64GB = Card("NVIDIA H100 64GB", None, 1980e6)
_CARD_BY_MEMORY_CLOCK = {6251: Card("NVIDIA L4", 72.0, 2040e6)}
"""Cards of recordings that do not name them, by the memory clock in MHz under load."""


@dataclass(frozen=True, slots=True)
class Run:
    """One recording: its name relative to the data directory, and its intervals."""

    name: str
    intervals: Callable[[], Iterator[Interval]]


def runs(data: Path) -> list[Run]:
    """All recordings below a directory, by name. Raises ValueError when there is none."""
    found = [
        Run(_name(data, path.parent), lambda path=path: _memory_gap(path.parent))  # type: ignore[misc]
        for path in data.rglob("metrics_engine_server_0.csv")
    ]
    found += [
        Run(_name(data, path.with_name(path.name.removesuffix("_tidy.csv"))), lambda path=path: _tidy(path))  # type: ignore[misc]
        for path in data.rglob("*_tidy.csv")
    ]
    found += [
        Run(_name(data, path.parent), lambda path=path: _timeseries(path))  # type: ignore[misc]
        for path in data.rglob("timeseries.csv")
        if path.with_name("meta.json").exists()
    ]
    if not found:
        raise ValueError(f"{data} holds no recording of a known form")
    return sorted(found, key=lambda run: [int(part) if part.isdigit() else part for part in _split(run.name)])


def _split(name: str) -> list[str]:
    return re.split(r"(\d+)", name)


def _name(data: Path, path: Path) -> str:
    return str(path.relative_to(data))


def _rows(path: Path, skip: int = 0) -> list[Row]:
    with path.open(newline="") as file:
        header = next(csv.reader(file))
        for _ in range(skip):
            next(file)
        return list(csv.DictReader(file, fieldnames=header))


def _number(row: Row, name: str) -> float | None:
    text = row.get(name)
    return float(text) if text not in (None, "", "-") else None


def _gained(before: Row, now: Row, name: str) -> float | None:
    first, last = _number(before, name), _number(now, name)
    return last - first if first is not None and last is not None and last >= first else None


def _memory_gap(directory: Path) -> Iterator[Interval]:
    """Engines beside one another on the same GPUs; the first one's clock and GPU figures are taken."""
    engines = [_rows(path) for path in sorted(directory.glob("metrics_engine_server_*.csv"))]
    cards = _cards(directory)
    limit, kv_tokens = _limit(directory.name), _kv_tokens(directory)
    first = engines[0]
    for sequence in range(1, min(map(len, engines))):
        start, end = (float(first[at]["time [s]"]) for at in (sequence - 1, sequence))
        readings: dict[EngineKey, EngineReading] = {}
        for index, rows in enumerate(engines):
            reading = _engine_0_5(index, rows[sequence - 1], rows[sequence], limit, kv_tokens, tuple(cards))
            readings[reading.key] = reading
        gpus = {uuid: _smi_gpu(uuid, row, end - start) for uuid, rows in cards.items() if (row := _at(rows, end))}
        yield _interval(sequence, start, end, gpus, readings)


def _cards(directory: Path) -> dict[str, list[Row]]:
    """The rows of `nvidia-smi dmon` of each GPU in order, as the first engine's host wrote them."""
    cards: dict[str, list[Row]] = {}
    for path in sorted(directory.glob("metrics_gpu_device_nvidia_smi_*_server_0.csv")):
        for row in _rows(path, skip=1):
            cards.setdefault(f"{path.stem}#{row['gpu']}", []).append(row)
    return {f"GPU-{index}": rows for index, rows in enumerate(cards.values())}


def _at(rows: Sequence[Row], time: float) -> Row | None:
    """The row nearest to a time, half a second away at most."""
    after = bisect_left(rows, time, key=lambda row: float(row["time"]))
    near = min(rows[max(0, after - 1) : after + 1], key=lambda row: abs(float(row["time"]) - time), default=None)
    return near if near is not None and abs(float(near["time"]) - time) <= 0.5 else None


def _limit(name: str) -> float | None:
    """The limit of concurrent sequences by a directory's name: bs<limit>, or <model>_<limit>__<engines>."""
    told = re.fullmatch(r"bs(\d+)", name) or re.fullmatch(r".*_(\d+)__\d+", name)
    return float(told[1]) if told else None


def _kv_tokens(directory: Path) -> float | None:
    for path in directory.glob("cache_config_*.txt"):
        told = re.search(r'cache_config_info\{block_size="(\d+)".*num_gpu_blocks="(\d+)"', path.read_text())
        if told:
            return float(told[1]) * float(told[2])
    return None


def _engine_0_5(
    index: int, before: Row, now: Row, limit: float | None, kv_tokens: float | None, gpus: tuple[str, ...]
) -> EngineReading:
    return rounded(
        EngineReading(
            endpoint=f"http://engine-{index}/metrics",
            engine_index="0",
            engine="vllm",
            window_seconds=float(now["time [s]"]) - float(before["time [s]"]),
            prompt_tokens=_gained(before, now, "prompt_tokens_total"),
            generation_tokens=_gained(before, now, "generation_tokens_total"),
            requests_running=_number(now, "num_requests_running"),
            requests_waiting=_number(now, "num_requests_waiting"),
            requests_limit=limit,
            kv_cache_usage_ratio=_number(now, "gpu_cache_usage_perc"),
            kv_cache_tokens=kv_tokens,
            preemptions=_gained(before, now, "num_preemptions_total"),
            gpus=gpus,
        )
    )


def _smi_gpu(uuid: str, row: Row, seconds: float) -> GpuReading:
    """`sm` and `mem` of `nvidia-smi dmon` are time shares: some kernel ran, memory was being accessed."""

    def ratio(name: str) -> float | None:
        value = _number(row, name)
        return None if value is None else min(1.0, value / 100)

    def times(name: str, factor: float) -> float | None:
        value = _number(row, name)
        return None if value is None else value * factor

    return rounded(
        GpuReading(
            uuid=uuid,
            name=_H100_64GB.name,
            source="nvml",
            window_seconds=seconds,
            kernel_active_ratio=ratio("sm"),
            memory_active_ratio=ratio("mem"),
            power_watts=_number(row, "pwr"),
            temperature_celsius=_number(row, "gtemp"),
            memory_temperature_celsius=_number(row, "mtemp"),
            sm_clock_hertz=times("pclk", 1e6),
            sm_clock_max_hertz=_H100_64GB.clock_max,
            memory_clock_hertz=times("mclk", 1e6),
            throttle_power_ratio=ratio("pviol"),
            throttle_thermal_ratio=_number(row, "tviol"),
            pcie_rx_bytes_per_second=times("rxpci", _MEGABYTE),
            pcie_tx_bytes_per_second=times("txpci", _MEGABYTE),
        )
    )


def _tidy(path: Path) -> Iterator[Interval]:
    rows = _rows(path)
    memory_clock = round(max((_number(row, "mem_clock_hz") or 0.0 for row in rows), default=0.0) / 1e6)
    card = _CARD_BY_MEMORY_CLOCK.get(memory_clock)
    for sequence, (before, now) in enumerate(pairwise(rows), 1):
        start, end = float(before["timestamp_s"]), float(now["timestamp_s"])
        gpus = {_GPU: _tidy_gpu(before, now, end - start, card)}
        engines: dict[EngineKey, EngineReading] = {}
        if _number(now, "num_requests_running") is not None:
            reading = _tidy_engine(before, now, end - start)
            engines[reading.key] = reading
        yield _interval(sequence, start, end, gpus, engines)


def _tidy_gpu(before: Row, now: Row, seconds: float, card: Card | None) -> GpuReading:
    def ratio(name: str) -> float | None:
        value = _number(now, name)
        return None if value is None else min(1.0, value / 100)

    power, energy = _number(now, "power_mw"), _gained(before, now, "energy_mj")
    known = peaks(card.name) if card is not None else None
    return rounded(
        GpuReading(
            uuid=_GPU,
            name=card.name if card is not None else None,
            source="gpm" if ratio("gpm_dram_bw_pct") is not None else "nvml",
            window_seconds=seconds,
            kernel_active_ratio=ratio("gpu_util_pct"),
            memory_active_ratio=ratio("gpu_memutil_pct"),
            sm_active_ratio=ratio("gpm_sm_util_pct"),
            occupancy_ratio=ratio("gpm_sm_occupancy_pct"),
            tensor_active_ratio=ratio("gpm_tensor_util_pct"),
            dram_active_ratio=ratio("gpm_dram_bw_pct"),
            power_watts=power / 1e3 if power is not None else None,
            power_limit_watts=card.power_limit if card is not None else None,
            energy_joules=energy / 1e3 if energy is not None else None,
            temperature_celsius=_number(now, "temp_c"),
            sm_clock_hertz=_number(now, "sm_clock_hz"),
            sm_clock_max_hertz=card.clock_max if card is not None else None,
            memory_clock_hertz=_number(now, "mem_clock_hz"),
            memory_used_bytes=_number(now, "mem_used_b"),
            pcie_rx_bytes_per_second=_number(now, "pcie_rx_Bps"),
            pcie_tx_bytes_per_second=_number(now, "pcie_tx_Bps"),
            dram_peak_bytes_per_second=known.dram if known is not None else None,
            tensor_peak_flops_per_second=known.tensor if known is not None else None,
        )
    )


def _tidy_engine(before: Row, now: Row, seconds: float) -> EngineReading:
    return rounded(
        EngineReading(
            endpoint="http://engine-0/metrics",
            engine_index="0",
            engine="vllm",
            window_seconds=seconds,
            prompt_tokens=_gained(before, now, "prompt_tokens_total"),
            prompt_tokens_computed=_gained(before, now, "prompt_local_compute"),
            prompt_tokens_cached=_gained(before, now, "prompt_local_cache_hit"),
            prompt_tokens_transferred=_gained(before, now, "prompt_external_kv"),
            generation_tokens=_gained(before, now, "generation_tokens_total"),
            first_tokens=_gained(before, now, "ttft_count"),
            steps=_gained(before, now, "iteration_count"),
            requests_running=_number(now, "num_requests_running"),
            requests_waiting=_number(now, "num_requests_waiting"),
            preemptions=_gained(before, now, "preemptions"),
            gpus=(_GPU,),
        )
    )


def _timeseries(path: Path) -> Iterator[Interval]:
    """Rates of one second before each row; the KV cache is in per cent."""
    told = json.loads(path.with_name("meta.json").read_text()).get("engine_kwargs", {})
    before = 0.0
    for sequence, row in enumerate(_rows(path), 1):
        end = float(row["t"])
        seconds, usage = end - before, _number(row, "kv_cache_pct")
        prompt, generated = _number(row, "prompt_throughput"), _number(row, "gen_throughput")
        reading = rounded(
            EngineReading(
                endpoint="http://engine-0/metrics",
                engine_index="0",
                engine="vllm",
                model=told.get("model"),
                dtype=told.get("dtype"),
                window_seconds=seconds,
                prompt_tokens=prompt * seconds if prompt is not None else None,
                generation_tokens=generated * seconds if generated is not None else None,
                requests_running=_number(row, "running"),
                requests_waiting=_number(row, "waiting"),
                requests_limit=told.get("max_num_seqs"),
                kv_cache_usage_ratio=usage / 100 if usage is not None else None,
                tensor_parallel=told.get("tensor_parallel_size"),
            )
        )
        yield _interval(sequence, before, end, {}, {reading.key: reading})
        before = end


def _interval(
    sequence: int,
    start: float,
    end: float,
    gpus: Mapping[str, GpuReading],
    engines: Mapping[EngineKey, EngineReading],
) -> Interval:
    first, last = _EPOCH + round(start % 1e8 * _SECOND), _EPOCH + round(end % 1e8 * _SECOND)
    return Interval(sequence, first, last, end - start, gpus=gpus, engines=engines)
