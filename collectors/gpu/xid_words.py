"""What an XID means and what to do about it, in a few words.

Source: NVIDIA, "XID Errors" (docs.nvidia.com/deploy/xid-errors). Only codes with something to say
for a machine that serves models; an unknown code is shown as its number.
"""

from __future__ import annotations

_RESET = "reset the GPU"
_RESTART = "restart the process"
_SUPPORT = "collect nvidia-bug-report and contact support"

_WORDS: dict[int, tuple[str, str | None]] = {
    13: ("exception in a kernel", _RESTART),
    31: ("memory fault in a kernel", _RESTART),
    43: ("a process was ended after a fault", _RESTART),
    45: ("a process's work was cut off", _RESTART),
    46: ("the GPU timed out", _RESET),
    48: ("uncorrectable memory error", "drain, then reset the GPU"),
    62: ("the GPU's power controller halted", _RESET),
    63: ("a memory row is remapped", None),
    64: ("a memory row could not be remapped", _RESET),
    74: ("NVLink error", _SUPPORT),
    79: ("the GPU has fallen off the bus", "reboot the machine"),
    92: ("many corrected memory errors", None),
    94: ("contained memory error", _RESTART),
    95: ("uncontained memory error", _RESET),
    109: ("a context switch timed out", _RESET),
    119: ("the GPU's firmware does not answer", _RESET),
    120: ("the GPU's firmware met an error", _RESET),
    136: ("NVLink training failed", _RESET),
    140: ("unrecovered memory error", _RESET),
    143: ("the GPU could not be initialised", _RESET),
    154: ("the driver changed what it asks for", "see the recovery action"),
    155: ("NVLink error", _RESET),
    156: ("a resource of the GPU was retired", _RESET),
    158: ("the GPU met a fatal timeout", _RESET),
    171: ("uncorrectable memory error, in detail", None),
    172: ("uncorrectable memory error, in detail", None),
}
_WORDS.update(dict.fromkeys(range(144, 151), ("NVLink error", _SUPPORT)))


def xid_words(code: int) -> str:
    """`XID 79: the GPU has fallen off the bus; reboot the machine`."""
    if code not in _WORDS:
        return f"XID {code}"
    what, remedy = _WORDS[code]
    return f"XID {code}: {what}" + (f"; {remedy}" if remedy else "")
