"""What a page of NVIDIA's dcgm-exporter says, family by family.

Left out on purpose: `NVLINK_BANDWIDTH_TOTAL`, whose unit is disputed. Sources: dcgm-exporter
etc/default-counters.csv and DCGM dcgm_fields.h (4.6 renamed fields).
"""

from __future__ import annotations

from collections.abc import Mapping

from collectors.gpu.codes import shares_of_reasons
from collectors.gpu.page_rows import MIB, Exporter, GpuIdentity, Row, Values, labelled, number, percent

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
    index = number(labels.get("gpu"))
    uuid = labelled(labels, "UUID", "gpu_uuid") or (f"index {index}" if index is not None else None)
    if uuid is None:
        return None
    name = labelled(labels, "modelName", "model_name")
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
        percent("kernel_active_ratio", _dcgm("DEV_GPU_UTIL")),
        Row("_utilisation", (_dcgm("DEV_GPU_UTIL_RATIO"),)),
        percent("memory_active_ratio", _dcgm("DEV_MEM_COPY_UTIL")),
        Row("memory_used_bytes", (_dcgm("DEV_FB_USED"),), MIB),
        Row("memory_total_bytes", (_dcgm("DEV_FB_TOTAL"),), MIB),
        Row("_free", (_dcgm("DEV_FB_FREE"),), MIB),
        Row("_reserved", (_dcgm("DEV_FB_RESERVED"),), MIB),
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
    port=9400,
    complete=_dcgm_complete,
    is_blank=_dcgm_blank,
)  # fmt: skip

NANOSECONDS_BY_HELP = frozenset({_dcgm("DEV_POWER_VIOLATION"), _dcgm("DEV_THERMAL_VIOLATION")})
"""Families whose help must say "in ns": older pages called the same figure microseconds."""
