"""NVML's GPU performance monitoring: gap-free averages between two samples of one GPU.

A sample is a snapshot of hardware counters; a metric is the average between two of them. The
newer sample of one round is the older one of the next, so the averages of consecutive rounds
cover all of the time. Runs in the child.
"""

from __future__ import annotations

import ctypes
import math
import struct

from collectors.gpu.codes import DENIED, FUNCTION_NOT_FOUND, NEVER, NOT_READY
from collectors.gpu.nvml import Funnel

TYPE_CHECKING = False  # the module typing would cost the child half a megabyte
if TYPE_CHECKING:
    from typing import Any

SPACING = 0.1
"""Seconds between two samples of one GPU at least: the counters refresh no faster (nvml.h)."""

MEBIBYTE = 1024.0 * 1024.0

# metric id -> field of GpuReading. Ratios come in percent, rates in MiB/s.
_RATIOS = {
    1: "compute_active_ratio",
    2: "sm_active_ratio",
    3: "occupancy_ratio",
    5: "tensor_active_ratio",
    10: "dram_active_ratio",
}
_RATES = {
    20: "pcie_tx_bytes_per_second",
    21: "pcie_rx_bytes_per_second",
    60: "nvlink_rx_bytes_per_second",
    61: "nvlink_tx_bytes_per_second",
}
_METRICS = (*_RATIOS, *_RATES)
_METRIC = struct.Struct("@IId")  # the beginning of nvmlGpmMetric_t: id, return code, value
_RATIO_TOLERANCE = 1.01  # rounding within the driver; more than that is not a ratio
_INSTANCE_TOLERANCE = 1.5  # of an instance more than all has been seen: its share of the GPU is not exact
_BARREN_LIMIT = 5
"""Rounds in a row without one figure, after which GPM is not said to work."""
_RATE_LIMIT = 1e13  # bytes/s, beyond any link


class Gpm:
    """The sample pair of one GPU, or of one of its GPU instances (MIG).

    Never used by two threads: concurrent GPM calls can crash NVML. Of an instance only activity is
    asked: links are the whole GPU's.
    """

    def __init__(self, funnel: Funnel, instance: int | None = None) -> None:
        self._instance = instance
        self._metrics = _METRICS if instance is None else tuple(_RATIOS)
        self._tolerance = _RATIO_TOLERANCE if instance is None else _INSTANCE_TOLERANCE
        self._sample = "nvmlGpmSampleGet" if instance is None else "nvmlGpmMigSampleGet"
        self.reason: str | None = None
        """Why there are no GPM figures, with the remedy; None while there are."""
        self._funnel = funnel
        self._older: Any = None
        self._newer: Any = None
        self._taken: float | None = None
        self._request: Any = None
        self._answer = memoryview(b"")
        self._answer_at = 0
        self._blank = b""
        self._stride = 0
        self._unsupported = False
        self._barren = 0

    @property
    def works(self) -> bool:
        """Whether samples are taken."""
        return self._taken is not None

    @property
    def gives(self) -> bool:
        """Whether figures come of them; not so when every one has been missing for some rounds."""
        return self._taken is not None and self._barren < _BARREN_LIMIT

    def close(self) -> None:
        """Give the sample buffers back."""
        for sample in (self._older, self._newer):
            if sample is not None:
                self._funnel.ask("nvmlGpmSampleFree", sample)
        self._older = self._newer = self._taken = None

    def poll(self, handle: Any) -> dict[str, float]:
        """The averages since the last poll, by field of GpuReading; empty when there are none.

        The first poll only takes the baseline. A poll sooner than `SPACING` after the last one
        leaves the baseline alone, and so does one that fails: the next one covers the time.
        """
        if not self.works:
            self._begin(handle)
            return {}
        now = self._funnel.clock()
        if self._taken is None or now - self._taken < SPACING:
            return {}
        if not self._take(handle, self._newer):
            return {}
        ctypes.memmove(self._answer_at, self._blank, len(self._blank))
        self._request.sample1, self._request.sample2 = self._older, self._newer
        if self._funnel.ask("nvmlGpmMetricsGet", self._request) is None:
            self._refused("nvmlGpmMetricsGet")
            return {}
        self._older, self._newer, self._taken = self._newer, self._older, now
        figures = self._figures()
        self._barren = 0 if any(name in figures for name in _RATIOS.values()) else self._barren + 1
        if self._barren == 0:
            self.reason = None
        elif self._barren >= _BARREN_LIMIT:
            self.reason = "GPM answers without figures (is another program sampling faster than every 100 ms?)"
        return figures

    def _begin(self, handle: Any) -> None:
        """Find out by doing whether this GPU has GPM, and take the first sample."""
        funnel = self._funnel
        if self._unsupported:
            return
        support = funnel.ask("nvmlGpmQueryDeviceSupport", handle)
        if support is None:
            self._refused("nvmlGpmQueryDeviceSupport")
            return
        if not support.isSupportedDevice:
            self._unsupported = True
            self.reason = "this GPU has no GPM (Hopper and newer have)"
            return
        self._older = self._older or funnel.ask("nvmlGpmSampleAlloc")
        self._newer = self._newer or funnel.ask("nvmlGpmSampleAlloc")
        if self._older is None or self._newer is None:
            self._refused("nvmlGpmSampleAlloc")
            return
        if not self._take(handle, self._older):
            return
        self._prepare_request()
        self._taken = funnel.clock()
        self.reason = None

    def _take(self, handle: Any, buffer: Any) -> bool:
        """Take a sample; an instance's is taken on the whole GPU's handle."""
        where = (handle,) if self._instance is None else (handle, self._instance)
        if self._funnel.ask(self._sample, *where, buffer) is None:
            self._refused(self._sample)
            return False
        return True

    def _prepare_request(self) -> None:
        nvml = self._funnel.nvml
        request = nvml.c_nvmlGpmMetricsGet_t()
        request.version = nvml.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(self._metrics)
        for position, metric in enumerate(self._metrics):
            request.metrics[position].metricId = metric
        self._request = request
        self._stride = ctypes.sizeof(nvml.c_nvmlGpmMetric_t)
        start = type(request).metrics.offset
        self._answer = memoryview(request).cast("B")[start:]
        # What NVML leaves alone must not look like an answer, least of all like that of the round before.
        nothing = [_METRIC.pack(metric, NOT_READY, math.nan).ljust(self._stride, b"\0") for metric in self._metrics]
        self._blank = b"".join(nothing)
        self._answer_at = ctypes.addressof(request) + start

    def _refused(self, function: str) -> None:
        """Put the refusal into words; a refusal that will last ends the use of this pair."""
        if self._funnel.usable(function):
            return
        self._taken = None
        code = self._funnel.codes.get(function)
        if code in DENIED:
            self.reason = (
                "NVML GPM is refused: run as root or with CAP_SYS_ADMIN (from R565 on CAP_PERFMON),"
                " or load the driver with NVreg_RestrictProfilingToAdminUsers=0"
            )
        elif code == FUNCTION_NOT_FOUND:
            self.reason = "this driver has no GPM (R525 and newer have)"
        elif code in NEVER:
            self.reason = f"this GPU has no GPM ({function}: code {code})"
        else:
            self.reason = f"GPM does not answer now ({function}: code {code}); it is asked again every 10 s"

    def _figures(self) -> dict[str, float]:
        figures: dict[str, float] = {}
        for position in range(len(self._metrics)):
            metric, code, value = _METRIC.unpack_from(self._answer, position * self._stride)
            if code != 0 or not math.isfinite(value) or value < 0:
                continue
            if metric in _RATIOS:
                ratio = value / 100.0
                if ratio <= self._tolerance:
                    figures[_RATIOS[metric]] = min(ratio, 1.0)
            elif value * MEBIBYTE <= _RATE_LIMIT:
                figures[_RATES[metric]] = value * MEBIBYTE
        return figures
