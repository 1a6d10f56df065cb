"""The machine as a place to run on: kernel interfaces, terminal, configuration, recording directory."""

from __future__ import annotations

import locale
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from collectors.cgroup import Group
from dashboard import __version__
from dashboard.config import Config, Loaded
from dashboard.doctor.finding import Finding
from dashboard.notation import format_size

_PRESSURE = ("cpu", "memory", "io")


def program() -> Iterator[Finding]:
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    yield Finding("phasetop", "fine", f"{__version__}, Python {platform.python_version()}, {system}")


def pressure(root: Path = Path("/proc/pressure")) -> Iterator[Finding]:
    """Whether the kernel tells how long tasks wait (PSI)."""
    unreadable = [name for name in _PRESSURE if not _readable(root / name)]
    if not unreadable:
        yield Finding("host", "fine", "pressure stall information for CPU, memory and I/O")
    else:
        remedy = "boot with psi=1" if not root.exists() else "let this user read them"
        yield Finding(
            "host", "limited", f"no pressure stall information: {root}/{unreadable[0]} cannot be read", remedy
        )


def limits(group: Group | None) -> Iterator[Finding]:
    """The container's limits, which count instead of the machine's size."""
    if group is None:
        yield Finding("host", "fine", "no container limits: the whole machine is measured")
        return
    cores = f"{group.cores:g} cores" if group.cores is not None else None
    memory = f"{group.memory_limit / 2**30:.1f} GiB of memory" if group.memory_limit is not None else None
    text = " and ".join(part for part in (cores, memory) if part)
    yield Finding("host", "fine", f"a container limited to {text}, against which load is measured")


def _readable(file: Path) -> bool:
    try:
        return bool(file.read_bytes())
    except OSError:  # the file may be there and still refuse: kernels built with PSI but booted with psi=0
        return False


def terminal(environment: Mapping[str, str]) -> Iterator[Finding]:
    if not sys.stdout.isatty():
        yield Finding("terminal", "note", "standard output is no terminal: `phasetop live` needs one")
        return
    size = shutil.get_terminal_size()
    level, remedy = (
        ("fine", None) if size.columns >= 80 and size.lines >= 24 else ("limited", "enlarge it to 80x24 or more")
    )
    yield Finding("terminal", level, f"{size.columns}x{size.lines}, {_colours(environment)}", remedy)  # type: ignore[arg-type]
    encoding = locale.getpreferredencoding(False)
    if encoding.upper().replace("-", "") != "UTF8":
        yield Finding("terminal", "limited", f"the locale's encoding is {encoding}", "use a UTF-8 locale, or --ascii")


def _colours(environment: Mapping[str, str]) -> str:
    if environment.get("NO_COLOR"):
        return "no colours (NO_COLOR is set)"
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "16 million colours"
    term = environment.get("TERM", "")
    return f"256 colours (TERM={term})" if "256color" in term else f"16 colours (TERM={term or 'unset'})"


def configuration(loaded: Loaded) -> Iterator[Finding]:
    read = [path for path, reason in loaded.files if reason is None]
    if not read:
        yield Finding("config", "fine", "no configuration file: all at its default")
    for path in read:
        yield Finding("config", "fine", f"{path} is read")
    for path, reason in loaded.files:
        if reason is not None and path.exists():
            yield Finding("config", "limited", f"{path} is not read: {reason}", "let this user read it")


def recording(config: Config) -> Iterator[Finding]:
    """Whether the configured directory can be recorded into."""
    directory = config.record.directory
    if directory is None:
        yield Finding("recording", "note", "no directory is configured: `phasetop record DIR` names one")
        return
    parent = next(folder for folder in (directory, *directory.parents) if folder.exists())
    if not parent.is_dir():
        yield Finding("recording", "missing", f"{directory}: {parent} is no directory", "name another record.directory")
        return
    if not os.access(parent, os.W_OK | os.X_OK):
        yield Finding("recording", "missing", f"{directory} cannot be written", f"make {parent} writable for this user")
        return
    free = shutil.disk_usage(parent).free
    text = f"{directory}: {free / 2**30:.1f} GiB free, cap {format_size(config.record.byte_cap)}"
    if free < config.record.byte_cap:
        yield Finding("recording", "limited", text, "lower record.byte_cap or free space: a full disk pauses recording")
    else:
        yield Finding("recording", "fine", text)
