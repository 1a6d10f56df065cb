"""What the pages of accelerator exporters say, family by family: the one table behind `pages.py`.

A family stands here only when its unit and meaning are known. Left out on purpose: AMD's
`gpu_prof_sm_active` (busy vector ALUs, not resident waves) and `pcie_bandwidth` (both directions in
one), Gaudi's `habanalabs_energy` and PCIe traffic and XPU manager's `xpum_pcie_*` (units or
directions not documented). NVIDIA's is a module of its own, `page_dcgm.py`.

Sources: ROCm device-metrics-exporter docs/configuration/metricslist.md, Intel Gaudi's exporter
documentation, Intel XPU manager doc/Prometheus_Exported_Metrics.csv and its OpenTelemetry `hw.*` names.
"""

from __future__ import annotations

from collections.abc import Mapping

from collectors.gpu.page_dcgm import DCGM
from collectors.gpu.page_rows import MIB, Exporter, GpuIdentity, Row, Values, labelled, number, percent

# -- AMD -----------------------------------------------------------------------------------------


def _amd_identity(labels: Mapping[str, str]) -> GpuIdentity | None:
    serial, index = labels.get("serial_number"), number(labels.get("gpu_id"))
    if not serial and index is None:
        return None
    partition = labels.get("gpu_partition_id")
    uuid = f"AMD-{serial or 'unknown'}-{'' if index is None else index}"
    name = labelled(labels, "card_series", "card_model")
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
        percent("compute_active_ratio", "gpu_gfx_activity"),
        percent("memory_active_ratio", "gpu_umc_activity"),
        percent("_mfma", "gpu_prof_tensor_active_percent"),
        percent("_gui_busy", "gpu_prof_gui_util_percent"),
        percent("occupancy_ratio", "gpu_prof_occupancy_percent"),
        Row("memory_used_bytes", ("gpu_used_vram",), MIB),
        Row("memory_total_bytes", ("gpu_total_vram",), MIB),
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
        percent("throttle_power_ratio", "gpu_violation_ppt_residency_percentage"),
        percent("_socket_thermal", "gpu_violation_socket_thermal_residency_percentage"),
        percent("_vr_thermal", "gpu_violation_vr_thermal_residency_percentage"),
        percent("_hbm_thermal", "gpu_violation_hbm_thermal_residency_percentage"),
        percent("throttle_hardware_ratio", "gpu_violation_processor_hot_residency_percentage"),
        Row("nvlink_tx_bytes_per_second", ("gpu_xgmi_link_tx",), 1024.0, counted=True, combine="sum"),
        Row("nvlink_rx_bytes_per_second", ("gpu_xgmi_link_rx",), 1024.0, counted=True, combine="sum"),
    ),
    _amd_identity,
    port=5000,
    driver=("/dev/kfd", "/sys/module/amdgpu"),
    complete=_amd_complete,
)


# -- Intel Gaudi ---------------------------------------------------------------------------------


def _gaudi_identity(labels: Mapping[str, str]) -> GpuIdentity | None:
    uuid = labelled(labels, "UUID", "uuid", "serial", "bus_id")
    if uuid is None:
        return None
    return GpuIdentity(uuid, number((labels.get("device") or "").removeprefix("accel")), labels.get("type"))


GAUDI = Exporter(
    "gaudi",
    "Intel Gaudi exporter",
    (
        percent("compute_active_ratio", "habanalabs_utilization"),
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
    port=41611,
    driver=("/sys/module/habanalabs", "/sys/class/accel/accel0"),
)


# -- Intel XPU manager ---------------------------------------------------------------------------


def _xpum_identity(labels: Mapping[str, str]) -> GpuIdentity | None:
    uuid = labelled(labels, "uuid", "pci_bdf")
    if uuid is None:
        return None
    index = number((labels.get("dev_file") or "").rpartition("card")[2])
    return GpuIdentity(uuid, index, labels.get("dev_name"), part=labelled(labels, "sub_dev", "src_sub_dev"))


def _xpum_complete(values: Values) -> None:
    if "_idle" in values:
        values["sm_active_ratio"] = 1.0 - min(1.0, values["_idle"])
    if values.get("_memory_share") and "memory_used_bytes" in values:
        values["memory_total_bytes"] = values["memory_used_bytes"] / values["_memory_share"]


XPUM = Exporter(
    "xpum",
    "Intel XPU manager (v1)",
    (
        percent("compute_active_ratio", "xpum_engine_ratio", combine="mean"),
        percent("_idle", "xpum_eu_idle_ratio", combine="mean"),
        percent("dram_active_ratio", "xpum_memory_bandwidth_ratio", combine="mean"),
        percent("_memory_share", "xpum_memory_ratio", combine="mean"),
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
