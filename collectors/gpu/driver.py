"""Has an NVIDIA driver come, gone or changed? Told without loading or asking it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from collectors.file_trace import trace_if_there
from collectors.gpu.codes import LIBRARY

_PLACES = (
    "/etc/ld.so.cache",  # rewritten whenever a package brings a library
    "/dev/nvidiactl",
    "/proc/driver/nvidia/version",
    "/sys/module/nvidia/initstate",
)
_LIBRARY_DIRECTORIES = (
    "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/nvidia/lib64",
    "/usr/lib/wsl/lib", "/run/opengl-driver/lib",
)  # fmt: skip
_VERSION = Path("/sys/module/nvidia/version")


def driver_fingerprint(library: str | None = None) -> object:
    """Something that is equal to the last one as long as nothing about the driver has changed.

    A dozen `stat` calls: cheap enough for every few seconds, for ever.
    """
    searched = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    directories = (*(path for path in searched if path), *_LIBRARY_DIRECTORIES)
    files: Iterable[str] = (*_PLACES, *((library,) if library else ()), *(f"{path}/{LIBRARY}" for path in directories))
    return (tuple(trace_if_there(Path(path)) for path in files), _text(_VERSION))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
