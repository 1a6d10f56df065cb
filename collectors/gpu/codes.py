"""NVML's return codes: what each calls for, and in words.

Nothing but tables, so that both the reader process and its parent can afford to import it.
"""

from __future__ import annotations

LIBRARY = "libnvidia-ml.so.1"

INVALID_ARGUMENT = 2
NO_PERMISSION = 4
NOT_FOUND = 6
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
IN_USE = 19
NOT_READY = 27
UNKNOWN = 999

NEVER = frozenset((3, 6, FUNCTION_NOT_FOUND, 21, 22, 24, 25, 26))
"""This GPU will not answer this question: not supported, no data, other struct version, ..."""
DENIED = frozenset((NO_PERMISSION, 17))
"""Somebody may allow it later. 17: the operating system blocks the device."""
PASSING = frozenset((7, 10, 19, 20, NOT_READY))
"""Worth asking again at once: size, timeout, in use, memory, not ready."""
LOST = frozenset((8, 11, 14, 15, 16, 28))
"""The GPU is lost: power cable, interrupt, corrupt inforom, off the bus, reset required, not found."""
GONE = frozenset((1, 9, LIBRARY_NOT_FOUND, 18))
"""NVML as a whole is: not initialised, no driver, no library, library and driver of two versions."""

_GONE_REASONS = {
    1: "NVML was shut down under its reader",
    NO_PERMISSION: "no permission to use the NVIDIA driver",
    9: "the NVIDIA driver is not loaded",
    LIBRARY_NOT_FOUND: f"{LIBRARY} not found",
    17: "the operating system blocks access to the NVIDIA driver",
    18: "NVML library and loaded driver differ in version (driver upgraded?): reload the driver or reboot",
    UNKNOWN: "NVML fails with an unknown error; in a container, restart the container (its access was revoked)",
}
_GPU_REASONS = {
    NO_PERMISSION: "no permission to open this GPU",
    NOT_FOUND: "this GPU is not there",
    8: "this GPU's power cables are not attached",
    11: "the driver has an interrupt problem with this GPU",
    14: "this GPU's information ROM is corrupted",
    15: "this GPU has fallen off the bus or is otherwise lost",
    16: "this GPU needs a reset",
    17: "the operating system blocks access to this GPU",
    28: "this GPU is not there",
    UNKNOWN: "this GPU answers everything with an unknown error",
}


# Clock event reasons, NVML's and DCGM's alike.
_SOFTWARE_POWER_CAP = 0x4
_HARDWARE_SLOWDOWN = 0x8
_SOFTWARE_THERMAL = 0x20
_HARDWARE_THERMAL = 0x40
_POWER_BRAKE = 0x80


def shares_of_reasons(bits: int) -> dict[str, float]:
    """What holds the clocks down at a moment, as a share of 0 or 1, by field of GpuReading."""
    heat = bits & (_SOFTWARE_THERMAL | _HARDWARE_THERMAL)
    # hardware slowdown also tells of heat and of the power brake; alone it is the fast power trigger
    hardware = bits & _POWER_BRAKE or (bits & _HARDWARE_SLOWDOWN and not bits & _HARDWARE_THERMAL)
    return {
        "throttle_power_ratio": float(bool(bits & _SOFTWARE_POWER_CAP)),
        "throttle_thermal_ratio": float(bool(heat)),
        "throttle_hardware_ratio": float(bool(hardware)),
    }


def gone_reason(code: int) -> str:
    """Why NVML as a whole does not work."""
    return _GONE_REASONS.get(code, f"NVML fails with code {code}")


def gpu_reason(code: int) -> str:
    """Why a GPU does not open or was lost."""
    return _GPU_REASONS.get(code, f"this GPU does not answer (NVML code {code})")
