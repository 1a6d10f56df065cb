"""Small hand-made pages of GPU exporters, with the families and labels their makers use."""

from __future__ import annotations

DCGM_GPU = "GPU-5c0ffee5-0000-4000-8000-000000000000"
"""The UUID of the first GPU of the stand-in NVML, so that a page and NVML can be about the same one."""


def dcgm_page(
    *, uuid: str = DCGM_GPU, extra: str = "", host_label: str = "Hostname", profiling: bool = True, **values: float
) -> str:
    """A dcgm-exporter page of one A100; values by the family's name after its `DCGM_FI_`."""
    figures = {
        "DEV_SM_CLOCK": 1410.0,
        "DEV_POWER_USAGE": 251.5,
        "DEV_GPU_UTIL": 97.0,
        "DEV_FB_USED": 30000.0,
        "DEV_FB_FREE": 10000.0,
        "DEV_FB_RESERVED": 500.0,
        "DEV_TOTAL_ENERGY_CONSUMPTION": 5_000_000.0,
    }
    if profiling:
        figures |= {"PROF_GR_ENGINE_ACTIVE": 0.96, "PROF_PIPE_TENSOR_ACTIVE": 0.25, "PROF_DRAM_ACTIVE": 0.75}
    labels = f'gpu="0",UUID="{uuid}",device="nvidia0",modelName="NVIDIA A100-SXM4-80GB",{host_label}="n1"{extra}'
    lines = [f"DCGM_FI_{name}{{{labels}}} {value}" for name, value in (figures | values).items()]
    return "# TYPE DCGM_FI_DEV_SM_CLOCK gauge\n" + "\n".join(lines) + "\n"


AMD_PAGE = """\
# TYPE gpu_gfx_activity gauge
gpu_gfx_activity{card_model="AMD Instinct MI300X",gpu_id="3",gpu_partition_id="0",hostname="h",serial_number="s1"} 80
gpu_umc_activity{card_model="AMD Instinct MI300X",gpu_id="3",gpu_partition_id="0",hostname="h",serial_number="s1"} 35
gpu_prof_tensor_active_percent{gpu_id="3",gpu_partition_id="0",hostname="h",serial_number="s1"} 50
gpu_prof_sm_active{gpu_id="3",gpu_partition_id="0",hostname="h",serial_number="s1"} 88
gpu_used_vram{gpu_id="3",gpu_partition_id="0",hostname="h",serial_number="s1"} 1024
gpu_xgmi_link_tx{gpu_id="3",gpu_partition_id="0",hostname="h",link_index="0",serial_number="s1"} 1000
gpu_xgmi_link_tx{gpu_id="3",gpu_partition_id="0",hostname="h",link_index="1",serial_number="s1"} 500
gpu_energy_consumed{gpu_id="3",gpu_partition_id="0",hostname="h",serial_number="s1"} 1000000000
"""
AMD_PAGE_A_SECOND_LATER = (
    AMD_PAGE.replace("} 1000\n", "} 3000\n").replace("} 500\n", "} 1500\n").replace("1000000000", "1600000000")
)

XPUM_PAGE = """\
xpum_engine_ratio{dev_file="/dev/dri/card1",dev_name="Max 1550",sub_dev="0",uuid="u1"} 90
xpum_engine_ratio{dev_file="/dev/dri/card1",dev_name="Max 1550",sub_dev="1",uuid="u1"} 70
xpum_memory_used_bytes{dev_file="/dev/dri/card1",dev_name="Max 1550",sub_dev="0",uuid="u1"} 4000
xpum_memory_used_bytes{dev_file="/dev/dri/card1",dev_name="Max 1550",sub_dev="1",uuid="u1"} 2000
xpum_power_watts{dev_file="/dev/dri/card1",dev_name="Max 1550",uuid="u1"} 500
xpum_power_watts{dev_file="/dev/dri/card1",dev_name="Max 1550",sub_dev="0",uuid="u1"} 240
"""

GAUDI_PAGE = """\
habanalabs_utilization{UUID="01P4",device="accel2",type="HL-325"} 96
habanalabs_power_mW{UUID="01P4",device="accel2",type="HL-325"} 612000
habanalabs_energy{UUID="01P4",device="accel2",type="HL-325"} 4.8e9
"""
