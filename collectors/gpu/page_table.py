"""What the pages of accelerator exporters say, family by family: the one table behind `pages.py`.

A family stands here only when its unit and meaning are known. Left out on purpose: AMD's
`gpu_prof_sm_active` (busy vector ALUs, not resident waves) and `pcie_bandwidth` (both directions in
one), Gaudi's `habanalabs_energy` and PCIe traffic and XPU manager's `xpum_pcie_*` (units or
directions not documented), DCGM's `NVLINK_BANDWIDTH_TOTAL` (unit disputed).

Sources: dcgm-exporter etc/default-counters.csv and DCGM dcgm_fields.h (4.6 renamed fields), ROCm
device-metrics-exporter docs/configuration/metricslist.md, Intel Gaudi's exporter documentation,
Intel XPU manager doc/Prometheus_Exported_Metrics.csv and its OpenTelemetry `hw.*` names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from collectors.gpu.codes import shares_of_reasons

Combine = Literal["first", "sum", "mean", "max", "whole"]
"""How several series of one GPU make one value. `whole`: the series of the GPU itself, else the sum of its parts."""

Values = dict[str, float]

_MIB = 1024.0 * 1024.0


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One value. The first of `families` that has it wins; `where` are labels a series must carry.

    `factor` turns the family's unit into the field's. `counted` values are totals: of a field that
    is an amount the growth counts, of any other the growth per second. A name that begins with `_`
    is no field and only for the exporter's `complete`.
    """

    name: str
    """The field of GpuReading."""
    families: tuple[str, ...]
    factor: float = 1.0
    counted: bool = False
    where: Mapping[str, str] = field(default_factory=dict)
    combine: Combine = "first"


@dataclass(frozen=True, slots=True)
class GpuIdentity:
    """Which GPU a series is of. `instance` is the GPU instance's id (MIG) and `part` a tile of the GPU, if any."""

    uuid: str
    index: int | None = None
    name: str | None = None
    instance: str | None = None
    profile: str | None = None
    part: str | None = None


@dataclass(frozen=True, slots=True)
class Exporter:
    """One kind of page. `usual_seconds` is how often its figures change unless configured otherwise."""

    source: str
    title: str
    rows: tuple[Row, ...]
    identity: Callable[[Mapping[str, str]], GpuIdentity | None]
    usual_seconds: float
    port: int | None = None
    driver: tuple[str, ...] = ()
    """Files one of which is there where the maker's driver is; the port is asked only then. Empty: always."""
    complete: Callable[[Values], None] = lambda values: None
    is_blank: Callable[[float], bool] = lambda value: False


def _labelled(labels: Mapping[str, str], *names: str) -> str | None:
    return next((labels[name] for name in names if labels.get(name)), None)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 6 else None


def _percent(name: str, *families: str, combine: Combine = "first", where: Mapping[str, str] | None = None) -> Row:
    return Row(name, families, 0.01, combine=combine, where=where or {})


# -- NVIDIA DCGM ---------------------------------------------------------------------------------

_DCGM_BLANKS = (0x7FFFFFF0, 0x80000000, 140737488355328.0, 140737488355344.0, float(0x7FFFFFFFFFFFFFF0))


def _dcgm_blank(value: float) -> bool:
    """DCGM's ways to say "no value": the last sixteen of 32 and of 64 bits, and 2^47 and a little (dcgm_structs.h)."""
    low, high, double_low, double_high, wide = _DCGM_BLANKS
    return low <= value < high or double_low <= value < double_high or value >= wide


XID = "_xid"
"""The last XID that came, at any time; 0 for none."""
XID_COUNTS = "DCGM_EXP_XID_ERRORS_COUNT"
"""How many XIDs of each code came within the exporter's last minutes, where it is set up to count them."""


def _dcgm(name: str) -> str:
    return f"DCGM_FI_{name}"


def _dcgm_identity(labels: Mapping[str, str]) -> GpuIdentity | None:
    index = _number(labels.get("gpu"))
    uuid = _labelled(labels, "UUID", "gpu_uuid") or (f"index {index}" if index is not None else None)
    if uuid is None:
        return None
    name = _labelled(labels, "modelName", "model_name")
    return GpuIdentity(uuid, index, name, labels.get("GPU_I_ID") or None, labels.get("GPU_I_PROFILE") or None)


def _dcgm_complete(values: Values) -> None:
    parts = (values.get("memory_used_bytes"), values.get("_free"), values.get("_reserved"))
    if "memory_total_bytes" not in values and parts[0] is not None and parts[1] is not None:
        values["memory_total_bytes"] = parts[0] + parts[1] + (parts[2] or 0.0)
    _dcgm_renamed_utilisation(values)
    thermal = [values[name] for name in ("_sw_thermal", "_hw_thermal") if name in values]
    if thermal:
        values.setdefault("throttle_thermal_ratio", max(thermal))
    if "_reasons" in values:  # what holds the clocks down at that moment, where no time is counted
        for name, held in shares_of_reasons(int(values["_reasons"])).items():
            values.setdefault(name, held)


def _dcgm_renamed_utilisation(values: Values) -> None:
    """`GPU_UTIL_RATIO` is called a ratio and was seen in percent: taken only where it cannot be mistaken."""
    value = values.get("_utilisation")
    if value is None or "kernel_active_ratio" in values or value == 1.0:
        return
    values["kernel_active_ratio"] = value / 100.0 if value > 1.0 else value


DCGM = Exporter(
    "dcgm",
    "NVIDIA dcgm-exporter",
    (
        Row("sm_active_ratio", (_dcgm("PROF_SM_ACTIVE"), _dcgm("PROF_SM_UTIL_RATIO"))),
        Row("tensor_active_ratio", (_dcgm("PROF_PIPE_TENSOR_ACTIVE"), _dcgm("PROF_TENSOR_UTIL_RATIO"))),
        Row("dram_active_ratio", (_dcgm("PROF_DRAM_ACTIVE"), _dcgm("PROF_DRAM_UTIL_RATIO"))),
        Row("occupancy_ratio", (_dcgm("PROF_SM_OCCUPANCY"), _dcgm("PROF_SM_OCCUPANCY_RATIO"))),
        Row("compute_active_ratio", (_dcgm("PROF_GR_ENGINE_ACTIVE"), _dcgm("PROF_GR_ENGINE_UTIL_RATIO"))),
        _percent("kernel_active_ratio", _dcgm("DEV_GPU_UTIL")),
        Row("_utilisation", (_dcgm("DEV_GPU_UTIL_RATIO"),)),
        _percent("memory_active_ratio", _dcgm("DEV_MEM_COPY_UTIL")),
        Row("memory_used_bytes", (_dcgm("DEV_FB_USED"),), _MIB),
        Row("memory_total_bytes", (_dcgm("DEV_FB_TOTAL"),), _MIB),
        Row("_free", (_dcgm("DEV_FB_FREE"),), _MIB),
        Row("_reserved", (_dcgm("DEV_FB_RESERVED"),), _MIB),
        Row(
            "power_watts",
            (
                _dcgm("DEV_POWER_USAGE"), _dcgm("DEV_BOARD_POWER_WATTS"), _dcgm("DEV_POWER_USAGE_INSTANT"),
                _dcgm("DEV_BOARD_POWER_RAW_WATTS"),
            ),
        ),
        Row(
            "power_limit_watts",
            (
                _dcgm("DEV_ENFORCED_POWER_LIMIT"), _dcgm("DEV_BOARD_POWER_LIMIT_ENFORCED_WATTS"),
                _dcgm("DEV_POWER_MGMT_LIMIT"), _dcgm("DEV_BOARD_POWER_LIMIT_REQUESTED_WATTS"),
            ),
        ),
        Row("energy_joules", (_dcgm("DEV_TOTAL_ENERGY_CONSUMPTION"),), 1e-3, counted=True),
        Row("temperature_celsius", (_dcgm("DEV_GPU_TEMP"), _dcgm("DEV_GPU_TEMP_CELSIUS"))),
        Row("temperature_limit_celsius", (_dcgm("DEV_SLOWDOWN_TEMP"), _dcgm("DEV_GPU_TEMP_SLOWDOWN_CELSIUS"))),
        Row("memory_temperature_celsius", (_dcgm("DEV_MEMORY_TEMP"), _dcgm("DEV_MEMORY_TEMP_CELSIUS"))),
        Row(
            "memory_temperature_limit_celsius",
            (_dcgm("DEV_MEM_MAX_OP_TEMP"), _dcgm("DEV_MEMORY_MAX_OP_TEMP_CELSIUS")),
        ),
        Row("sm_clock_hertz", (_dcgm("DEV_SM_CLOCK"),), 1e6),
        Row("sm_clock_max_hertz", (_dcgm("DEV_MAX_SM_CLOCK"),), 1e6),
        Row("memory_clock_hertz", (_dcgm("DEV_MEM_CLOCK"),), 1e6),
        Row("memory_clock_max_hertz", (_dcgm("DEV_MAX_MEM_CLOCK"),), 1e6),
        Row(
            "throttle_power_ratio",
            (_dcgm("DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP_NS"), _dcgm("DEV_POWER_VIOLATION")),
            1e-9, counted=True,
        ),
        Row("_sw_thermal", (_dcgm("DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN_NS"),), 1e-9, counted=True),
        Row("_hw_thermal", (_dcgm("DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN_NS"),), 1e-9, counted=True),
        Row("throttle_thermal_ratio", (_dcgm("DEV_THERMAL_VIOLATION"),), 1e-9, counted=True),
        Row(
            "throttle_hardware_ratio",
            (_dcgm("DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN_NS"),),
            1e-9, counted=True,
        ),
        Row("pcie_tx_bytes_per_second", (_dcgm("PROF_PCIE_TX_BYTES"),)),
        Row("pcie_rx_bytes_per_second", (_dcgm("PROF_PCIE_RX_BYTES"),)),
        Row("nvlink_tx_bytes_per_second", (_dcgm("PROF_NVLINK_TX_BYTES"),)),
        Row("nvlink_rx_bytes_per_second", (_dcgm("PROF_NVLINK_RX_BYTES"),)),
        Row("ecc_corrected_errors", (_dcgm("DEV_ECC_SBE_VOL_TOTAL"),)),
        Row("ecc_uncorrected_errors", (_dcgm("DEV_ECC_DBE_VOL_TOTAL"),)),
        Row(
            "remapped_rows_corrected",
            (_dcgm("DEV_CORRECTABLE_REMAPPED_ROWS"), _dcgm("DEV_ROW_REMAP_CORRECTABLE_TOTAL")),
        ),
        Row(
            "remapped_rows_uncorrected",
            (_dcgm("DEV_UNCORRECTABLE_REMAPPED_ROWS"), _dcgm("DEV_ROW_REMAP_UNCORRECTABLE_TOTAL")),
        ),
        Row("row_remap_pending", (_dcgm("DEV_ROW_REMAP_PENDING"),)),
        Row("row_remap_failed", (_dcgm("DEV_ROW_REMAP_FAILURE"), _dcgm("DEV_ROW_REMAP_FAILED"))),
        Row("pcie_link_generation", (_dcgm("DEV_PCIE_LINK_GEN"),)),
        Row("pcie_link_generation_max", (_dcgm("DEV_PCIE_MAX_LINK_GEN"),)),
        Row("pcie_link_width", (_dcgm("DEV_PCIE_LINK_WIDTH"),)),
        Row("pcie_link_width_max", (_dcgm("DEV_PCIE_MAX_LINK_WIDTH"),)),
        Row("persistence_mode", (_dcgm("DEV_PERSISTENCE_MODE"), _dcgm("DEV_GPU_PERSISTENCE_MODE"))),
        Row(XID, (_dcgm("DEV_XID_ERRORS"), _dcgm("DEV_XID_ERROR"))),
        Row("_xid_counts", (XID_COUNTS,)),  # page_xids.py tells them apart by code
        Row("_reasons", (_dcgm("DEV_CLOCKS_EVENT_REASONS"), _dcgm("DEV_CLOCK_THROTTLE_REASONS"))),
    ),
    _dcgm_identity,
    usual_seconds=30.0,
    port=9400,
    complete=_dcgm_complete,
    is_blank=_dcgm_blank,
)  # fmt: skip

NANOSECONDS_BY_HELP = frozenset({_dcgm("DEV_POWER_VIOLATION"), _dcgm("DEV_THERMAL_VIOLATION")})
"""Families whose help must say "in ns": older pages called the same figure microseconds."""


# -- AMD -----------------------------------------------------------------------------------------


def _amd_identity(labels: Mapping[str, str]) -> GpuIdentity | None:
    serial, index = labels.get("serial_number"), _number(labels.get("gpu_id"))
    if not serial and index is None:
        return None
    partition = labels.get("gpu_partition_id")
    uuid = f"AMD-{serial or 'unknown'}-{'' if index is None else index}"
    name = _labelled(labels, "card_series", "card_model")
    return GpuIdentity(uuid if partition in (None, "0") else f"{uuid}-{partition}", index, name)


def _amd_complete(values: Values) -> None:
    """MfmaUtil is a share of the cycles the graphics engine was busy; the field is one of all cycles."""
    busy = values.get("_gui_busy", values.get("compute_active_ratio"))
    if "_mfma" in values and busy is not None:
        values["tensor_active_ratio"] = values["_mfma"] * busy
    heat = [values[name] for name in ("_socket_thermal", "_vr_thermal", "_hbm_thermal") if name in values]
    if heat:
        values["throttle_thermal_ratio"] = max(heat)


AMD = Exporter(
    "amd",
    "AMD device-metrics-exporter",
    (
        _percent("compute_active_ratio", "gpu_gfx_activity"),
        _percent("memory_active_ratio", "gpu_umc_activity"),
        _percent("_mfma", "gpu_prof_tensor_active_percent"),
        _percent("_gui_busy", "gpu_prof_gui_util_percent"),
        _percent("occupancy_ratio", "gpu_prof_occupancy_percent"),
        Row("memory_used_bytes", ("gpu_used_vram",), _MIB),
        Row("memory_total_bytes", ("gpu_total_vram",), _MIB),
        Row("power_watts", ("gpu_package_power", "gpu_average_package_power", "gpu_power_usage")),
        Row("energy_joules", ("gpu_energy_consumed",), 1e-6, counted=True),
        Row("temperature_celsius", ("gpu_junction_temperature", "gpu_edge_temperature")),
        Row("memory_temperature_celsius", ("gpu_memory_temperature",)),
        *(
            Row(name, ("gpu_clock",), 1e6, where={"clock_type": kind}, combine="max")
            for name, kinds in (
                ("sm_clock_hertz", ("system", "GPU_CLOCK_TYPE_SYSTEM")),  # now, and in older versions
                ("memory_clock_hertz", ("memory", "GPU_CLOCK_TYPE_MEMORY")),
            )
            for kind in kinds
        ),
        _percent("throttle_power_ratio", "gpu_violation_ppt_residency_percentage"),
        _percent("_socket_thermal", "gpu_violation_socket_thermal_residency_percentage"),
        _percent("_vr_thermal", "gpu_violation_vr_thermal_residency_percentage"),
        _percent("_hbm_thermal", "gpu_violation_hbm_thermal_residency_percentage"),
        _percent("throttle_hardware_ratio", "gpu_violation_processor_hot_residency_percentage"),
        Row("nvlink_tx_bytes_per_second", ("gpu_xgmi_link_tx",), 1024.0, counted=True, combine="sum"),
        Row("nvlink_rx_bytes_per_second", ("gpu_xgmi_link_rx",), 1024.0, counted=True, combine="sum"),
    ),
    _amd_identity,
    usual_seconds=5.0,
    port=5000,
    driver=("/dev/kfd", "/sys/module/amdgpu"),
    complete=_amd_complete,
)


# -- Intel Gaudi ---------------------------------------------------------------------------------


def _gaudi_identity(labels: Mapping[str, str]) -> GpuIdentity | None:
    uuid = _labelled(labels, "UUID", "uuid", "serial", "bus_id")
    if uuid is None:
        return None
    return GpuIdentity(uuid, _number((labels.get("device") or "").removeprefix("accel")), labels.get("type"))


GAUDI = Exporter(
    "gaudi",
    "Intel Gaudi exporter",
    (
        _percent("compute_active_ratio", "habanalabs_utilization"),
        Row("memory_used_bytes", ("habanalabs_memory_used_bytes",)),
        Row("memory_total_bytes", ("habanalabs_memory_total_bytes",)),
        Row("power_watts", ("habanalabs_power_mW",), 1e-3),
        Row("power_limit_watts", ("habanalabs_power_default_limit_mW",), 1e-3),
        Row("temperature_celsius", ("habanalabs_temperature_onchip",)),
        Row("temperature_limit_celsius", ("habanalabs_temperature_threshold_slowdown",)),
        Row("sm_clock_hertz", ("habanalabs_clock_soc_mhz",), 1e6),
        Row("sm_clock_max_hertz", ("habanalabs_clock_soc_max_mhz",), 1e6),
    ),
    _gaudi_identity,
    usual_seconds=5.0,
    port=41611,
    driver=("/sys/module/habanalabs", "/sys/class/accel/accel0"),
)


# -- Intel XPU manager ---------------------------------------------------------------------------


def _xpum_identity(labels: Mapping[str, str]) -> GpuIdentity | None:
    uuid = _labelled(labels, "uuid", "pci_bdf")
    if uuid is None:
        return None
    index = _number((labels.get("dev_file") or "").rpartition("card")[2])
    return GpuIdentity(uuid, index, labels.get("dev_name"), part=_labelled(labels, "sub_dev", "src_sub_dev"))


def _xpum_complete(values: Values) -> None:
    if "_idle" in values:
        values["sm_active_ratio"] = 1.0 - min(1.0, values["_idle"])
    if values.get("_memory_share") and "memory_used_bytes" in values:
        values["memory_total_bytes"] = values["memory_used_bytes"] / values["_memory_share"]


XPUM = Exporter(
    "xpum",
    "Intel XPU manager (v1)",
    (
        _percent("compute_active_ratio", "xpum_engine_ratio", combine="mean"),
        _percent("_idle", "xpum_eu_idle_ratio", combine="mean"),
        _percent("dram_active_ratio", "xpum_memory_bandwidth_ratio", combine="mean"),
        _percent("_memory_share", "xpum_memory_ratio", combine="mean"),
        Row("memory_used_bytes", ("xpum_memory_used_bytes",), combine="whole"),
        Row("power_watts", ("xpum_power_watts",), combine="whole"),
        Row("energy_joules", ("xpum_energy_joules",), counted=True, combine="whole"),
        Row("temperature_celsius", ("xpum_temperature_celsius",), where={"location": "gpu"}, combine="max"),
        Row("memory_temperature_celsius", ("xpum_temperature_celsius",), where={"location": "mem"}, combine="max"),
        Row("sm_clock_hertz", ("xpum_frequency_mhz",), 1e6, where={"location": "gpu", "type": "actual"}, combine="max"),
        Row("nvlink_tx_bytes_per_second", ("xpum_fabric_tx_bytes",), counted=True, combine="sum"),
        Row("nvlink_rx_bytes_per_second", ("xpum_fabric_rx_bytes",), counted=True, combine="sum"),
    ),
    _xpum_identity,
    usual_seconds=5.0,
    complete=_xpum_complete,
)


def _xpumd_identity(labels: Mapping[str, str]) -> GpuIdentity | None:
    uuid = labels.get("hw_id")
    return GpuIdentity(uuid, None, labels.get("hw_name")) if uuid else None


XPUMD = Exporter(
    "xpum",
    "Intel XPU manager (v2, xpumd)",
    (
        Row("compute_active_ratio", ("hw_gpu_utilization_ratio",), where={"hw_gpu_task": "all"}),
        Row("dram_active_ratio", ("hw_memory_bandwidth_utilization_ratio",)),
        Row("memory_used_bytes", ("hw_memory_usage_bytes",)),
        Row("memory_total_bytes", ("hw_memory_size_bytes",)),
        Row("power_watts", ("hw_power_watts",)),
        Row("energy_joules", ("hw_energy_joules_total",), counted=True),
        Row("temperature_celsius", ("hw_temperature_celsius",), where={"hw_sensor_location": "gpu"}, combine="max"),
        Row(
            "memory_temperature_celsius", ("hw_temperature_celsius",),
            where={"hw_sensor_location": "memory"}, combine="max",
        ),
        Row("sm_clock_hertz", ("hw_frequency_hertz",), where={"hw_frequency_domain": "gpu"}),
        Row("throttle_power_ratio", ("hw_frequency_throttle_status",), where={"reason": "power"}),
        Row("throttle_thermal_ratio", ("hw_frequency_throttle_status",), where={"reason": "thermal"}),
        Row(
            "pcie_tx_bytes_per_second", ("hw_gpu_io_bytes_total",),
            counted=True, where={"direction": "transmit"}, combine="sum",
        ),
        Row(
            "pcie_rx_bytes_per_second", ("hw_gpu_io_bytes_total",),
            counted=True, where={"direction": "receive"}, combine="sum",
        ),
    ),
    _xpumd_identity,
    usual_seconds=5.0,
)  # fmt: skip

EXPORTERS = (DCGM, AMD, GAUDI, XPUM, XPUMD)
PAGE_SOURCES = frozenset(exporter.source for exporter in EXPORTERS)

OF_AN_INSTANCE = frozenset(
    {
        "sm_active_ratio", "tensor_active_ratio", "dram_active_ratio", "occupancy_ratio", "compute_active_ratio",
        "memory_used_bytes", "memory_total_bytes", "_free", "_reserved",
    }
)  # fmt: skip
"""Fields that a series with a GPU instance's labels tells of the instance; all others are the whole GPU's."""
