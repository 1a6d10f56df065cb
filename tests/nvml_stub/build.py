"""Builds the stand-in for libnvidia-ml.so.1 and drives it while it runs.

    python tests/nvml_stub/build.py /tmp/nvml          # builds /tmp/nvml/libnvidia-ml.so.1
    export PHASETOP_NVML_STUB=/tmp/nvml/control        # optional: the script; see nvml_stub.c
    printf 'gpus 8\noffset@3 2.5\n' > /tmp/nvml/control
    LD_LIBRARY_PATH=/tmp/nvml phasetop

Any NVML client can run on it that way. Faults are switched on and off by writing the control file
again (write a new file and rename it over the old one). `--without SYMBOL` leaves a symbol out, as
an old driver does.
"""

from __future__ import annotations

import argparse
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml_stub.c")
LIBRARY = "libnvidia-ml.so.1"
FORBIDDEN_PIECES = r"(Set[A-Z]\w*|Clear|Reset|Destroy|Modify|Remove|Freeze|Discover|Activate|Update|Create|ReadWrite)"
_RECORD = struct.Struct("56sQ")


class NoCompiler(RuntimeError):
    """There is no C compiler on this machine."""


def state_changing_symbols() -> tuple[str, ...]:
    """The symbols pynvml can call that change something, by their names."""
    spec = find_spec("pynvml")
    if spec is None or spec.origin is None:
        return ()
    names = set(re.findall(r'_nvmlGetFunctionPointer\("(\w+)"\)', Path(spec.origin).read_text()))
    asked = {name: re.sub("Get\\w*", "", name) for name in names if "EventSet" not in name}
    return tuple(sorted(name for name, verb in asked.items() if re.search(FORBIDDEN_PIECES, verb)))


def build(directory: Path, *, without: Iterable[str] = (), traps: Iterable[str] = ()) -> Path:
    """Compile the library into a directory and return its path.

    `without` are symbols to leave out; `traps` are symbols to add that only count and refuse.
    Raises NoCompiler, or CalledProcessError with the compiler's message.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NoCompiler("no C compiler (cc, gcc)")
    directory.mkdir(parents=True, exist_ok=True)
    library = directory / LIBRARY
    header = directory / "traps.h"
    header.write_text("#define TRAPS(X) " + " ".join(f"X({name})" for name in traps) + "\n")
    exports = directory / "exports.map"
    hidden = "".join(f" {name};" for name in without)
    exports.write_text("{ global: nvml*;" + (f" local:{hidden}" if hidden else "") + " };\n")
    subprocess.run(
        [
            compiler, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}",
            f"-Wl,--version-script={exports}", "-include", str(header), str(SOURCE), "-o", str(library),
            "-lm", "-lpthread",
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return library


class Stub:
    """A built library with a control file and a count of calls, for one test."""

    def __init__(self, library: Path, directory: Path) -> None:
        self.library = library
        self._control = directory / "control"
        self._counts = directory / "counts"
        self.script()

    @property
    def environment(self) -> dict[str, str]:
        return {"PHASETOP_NVML_STUB": str(self._control), "PHASETOP_NVML_STUB_COUNTS": str(self._counts)}

    def script(self, *lines: str) -> None:
        """Replace the control file, in one step."""
        new = self._control.with_suffix(".new")
        new.write_text("".join(f"{line}\n" for line in lines))
        new.rename(self._control)

    def calls(self) -> dict[str, int]:
        """How often each symbol was called so far, by any process; symbols never called are left out."""
        if not self._counts.exists():
            return {}
        records = _RECORD.iter_unpack(self._counts.read_bytes())
        return {name.rstrip(b"\0").decode(): count for name, count in records if count}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--without", action="append", default=[], metavar="SYMBOL")
    arguments = parser.parse_args()
    try:
        print(build(arguments.directory, without=arguments.without))
    except NoCompiler as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(error.stderr, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
