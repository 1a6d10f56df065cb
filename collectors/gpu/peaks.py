"""What a GPU could do at most: DRAM bandwidth and dense BF16 tensor rate.

The figures are the vendors' data-sheet values *without* structured sparsity (data sheets often
print twice as much, with it). A card is recognised only when its whole name fits a row: a variant
that is not listed (a cut-down export model, a laptop part, another memory size) gets no compute
peak rather than its sibling's, and its bandwidth is worked out from clock and bus width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

PeakSource = Literal["table", "estimate", "configuration"]


@dataclass(frozen=True, slots=True)
class Peaks:
    """Upper bounds of one device; None where nothing is known.

    `dram` in bytes/s; `tensor` in flop/s, dense BF16 with FP32 accumulation (FP16 on Volta and
    Turing, which have no BF16). `source` says where `dram` comes from, or `tensor` where only that
    is known; `tensor` is never an estimate.
    """

    dram: float | None = None
    tensor: float | None = None
    source: PeakSource | None = None


# (pattern for the whole name without its maker, GB/s, dense BF16 Tflop/s), one device per row:
# one GPU of a board that holds several (GB200, MI250X). The first row that fits decides.
_ROWS: tuple[tuple[str, float, float | None], ...] = (
    (r"GB300", 8000, 2500),
    (r"GB200", 8000, 2500),
    (r"B300( SXM6)?( AC)?", 7750, 2250),
    (r"B200", 7700, 2250),
    (r"GH200 144G HBM3e", 4800, 989),
    (r"GH200 480GB", 4000, 989),  # 480 GB is the CPU's memory; the GPU has 96 GB of HBM3
    (r"H200 NVL", 4800, 835),
    (r"H200", 4800, 989),
    (r"H100 NVL", 3900, 835),
    (r"H100 PCIe", 2000, 756),
    (r"H100( SXM5)? 80GB HBM3", 3350, 989),
    (r"H800", 3350, 989),
    (r"H20", 4000, 148),
    (r"A100[- ]SXM4[- ]80GB", 2039, 312),
    (r"A100 80GB PCIe", 1935, 312),
    (r"A100[- ](SXM4|PCIE)[- ]40GB", 1555, 312),
    (r"A40", 696, 149.7),
    (r"A30", 933, 165),
    (r"A10G", 600, 70),
    (r"A10", 600, 125),
    (r"L40S", 864, 362),
    (r"L40", 864, 181),
    (r"L4", 300, 121),
    (r"T4", 320, 65),
    (r"V100S-PCIE-32GB", 1134, 130),
    (r"V100-SXM2-(16|32)GB", 900, 125),
    (r"V100-PCIE-(16|32)GB", 900, 112),
    (r"RTX PRO 6000 Blackwell( (Server|Workstation) Edition)?", 1792, 504),
    (r"RTX PRO 6000 Blackwell Max-Q Workstation Edition", 1792, None),  # the same memory at half the power
    (r"RTX 6000 Ada Generation", 960, 364),
    (r"RTX A6000", 768, 154.8),
    (r"GeForce RTX 5090", 1792, 209.5),
    (r"GeForce RTX 4090", 1008, 165),
    (r"GeForce RTX 3090", 936, 71),
    (r"Instinct MI355X( OAM)?", 8000, 2500),
    (r"Instinct MI325X( OAM)?", 6000, 1307),
    (r"Instinct MI300X( OAM)?", 5300, 1307),
    (r"Instinct MI250X( OAM)?", 1638, 191.5),
    (r"Gaudi ?3|HL-325L?", 3700, 1677),  # at the 1.6 GHz it ships with
    (r"Gaudi ?2|HL-225[BCDH]?", 2460, 432),
)
_TABLE = tuple((re.compile(rf"\b(?:{pattern})\b"), dram * 1e9, tensor) for pattern, dram, tensor in _ROWS)
_MAKER = re.compile(r"^(NVIDIA|Tesla|Quadro|AMD|Intel|Habana|HABANA)\s+")


def _bare(name: str) -> str:
    """The product name without its maker: `NVIDIA Tesla T4` and `Tesla T4` are both `T4`."""
    bare = " ".join(name.split())
    while (shorter := _MAKER.sub("", bare)) != bare:
        bare = shorter
    return bare


@lru_cache(maxsize=256)
def peaks(name: str | None, memory_clock_max_hertz: float | None = None, bus_width_bits: float | None = None) -> Peaks:
    """The peaks of a device by the name its driver gives it.

    An unknown device's bandwidth is estimated from its highest memory clock and bus width. NVML
    reports half the data rate for HBM and GDDR alike, so bytes/s = clock x 2 x bits / 8; on cards
    that are in the table the estimate comes within 3 %. The name of a MIG instance does not tell
    its share: no peaks.
    """
    bare = _bare(name or "")
    if " MIG " in bare:
        return Peaks()
    for pattern, dram, tensor in _TABLE:
        if pattern.fullmatch(bare):
            return Peaks(dram=dram, tensor=None if tensor is None else tensor * 1e12, source="table")
    if memory_clock_max_hertz and bus_width_bits and memory_clock_max_hertz > 0 and bus_width_bits > 0:
        return Peaks(dram=memory_clock_max_hertz * 2 * bus_width_bits / 8, source="estimate")
    return Peaks()


class PeakBook:
    """The table with what the user knows better, by device name (with or without its maker)."""

    def __init__(self, configured: Mapping[str, Peaks] = MappingProxyType({})) -> None:
        self._configured = {_bare(name).casefold(): known for name, known in configured.items()}

    def of(
        self,
        name: str | None,
        memory_clock_max_hertz: float | None = None,
        bus_width_bits: float | None = None,
        *,
        memory_share: float | None = None,
        compute_share: float | None = None,
    ) -> Peaks:
        """The peaks of a device; of a MIG instance its shares of the whole GPU's, None where a share is not known."""
        whole, is_instance, _ = (name or "").partition(" MIG ")
        found = peaks(whole, memory_clock_max_hertz, bus_width_bits)
        known = self._configured.get(_bare(whole).casefold())
        if known is not None:
            dram = known.dram if known.dram is not None else found.dram
            tensor = known.tensor if known.tensor is not None else found.tensor
            found = Peaks(
                dram, tensor, "configuration" if known.dram is not None or found.source is None else found.source
            )
        if not is_instance:
            return found
        dram, tensor = _share(found.dram, memory_share), _share(found.tensor, compute_share)
        return replace(found, dram=dram, tensor=tensor, source=found.source if dram or tensor else None)


def _share(whole: float | None, share: float | None) -> float | None:
    return whole * share if whole is not None and share is not None else None
