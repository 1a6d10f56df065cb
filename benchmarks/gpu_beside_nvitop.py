"""What watching eight GPUs costs, beside nvitop in the same run: CPU and memory, as ratios.

    python -m benchmarks.gpu_beside_nvitop [--nvitop COMMAND] [--rounds 3] [--json]

Both read the stand-in for NVML (which a C compiler builds) once a second, on a terminal of 120x40, and take turns
so that a busy moment of the machine hits both. CPU is that of all processes of a program, as a share of one core;
memory is their PSS. `phasetop export` and `phasetop record` stand beside them: they have no terminal to draw on.
There is no engine, and no process on any GPU. nvitop shows utilisation, memory and power; phasetop besides reads
GPM, field values and health, labels every interval and keeps an hour of history.

nvitop is no part of this project: `pip install nvitop` into an environment of its own and name its command.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.dashboard import free_port, pace
from benchmarks.watched import Cost, Watched
from tests.nvml_stub.build import NoCompiler, build

GPUS = 8


def cost_of(command: Sequence[str], environment: Mapping[str, str], seconds: float, *, terminal: bool) -> Cost:
    """Once it has settled. Raises RuntimeError when it shows nothing, or ends."""
    with Watched(command, environment, terminal=terminal) as watched:
        if terminal:
            watched.first_frame()
        watched.idle(seconds / 3)
        return watched.steady(seconds)


def measure(nvitop: str, phasetop: str, rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """By program: `cpu` in percent of a core, `pss` in MB; medians of the rounds."""
    with tempfile.TemporaryDirectory(prefix="phasetop-beside-") as directory:
        build(Path(directory))
        control = Path(directory) / "control"
        control.write_text(f"gpus {GPUS}\n" + "".join(f"offset@{gpu} {0.7 * gpu}\n" for gpu in range(GPUS)))
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment = {
            "LANG": "C.UTF-8", **kept, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40",
            "LD_LIBRARY_PATH": directory, "PHASETOP_NVML_STUB": str(control), "PHASETOP_ENGINE_DISCOVER": "no",
            "PHASETOP_GPU_DISCOVER": "no", "XDG_CONFIG_HOME": directory, "XDG_STATE_HOME": directory,
        }  # fmt: skip
        programs = {
            "nvitop": ([*shlex.split(nvitop), "--monitor", "full", "--interval", "1"], True),
            "phasetop live": ([phasetop, "live"], True),
            "phasetop export": ([phasetop, "export", "--listen", f"127.0.0.1:{free_port()}"], False),
            "phasetop record": ([phasetop, "record", str(Path(directory) / "recording"), "--for", "1h"], False),
        }
        costs: dict[str, list[Cost]] = {name: [] for name in programs}
        for _ in range(rounds):
            for name, (command, terminal) in programs.items():
                costs[name].append(cost_of(command, environment, seconds, terminal=terminal))
    return {
        name: {"cpu": 100 * median(cost.cpu for cost in some), "pss": median(cost.pss for cost in some) / 1e6}
        for name, some in costs.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nvitop", default=shutil.which("nvitop"), help="its command (default: the one on PATH)")
    parser.add_argument("--phasetop", default=str(Path(sys.executable).with_name("phasetop")), help="the program")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default 3)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each turn, after a third as long (default 15)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.nvitop is None:
        print("nvitop is not on PATH; pip install it somewhere and give --nvitop its command", file=sys.stderr)
        return 1
    before = pace()
    try:
        costs = measure(options.nvitop, options.phasetop, options.rounds, options.seconds)
    except NoCompiler as error:
        print(error, file=sys.stderr)
        return 1
    paces = (before, pace())
    if options.json:
        print(json.dumps({"gpus": GPUS, "pace_ms": paces, "programs": costs}))
        return 0
    beside = costs["nvitop"]
    print(f"{GPUS} GPUs at 1 Hz; pace {paces[0]:.2f} to {paces[1]:.2f} ms")
    print(f"{'':18}{'CPU % of a core':>24}{'PSS MB':>18}")
    for name, one in costs.items():
        cells = (f"{one[key]:.2f} ({one[key] / beside[key]:.2f}x)" for key in ("cpu", "pss"))
        print(f"{name:18}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, (24, 18), strict=True)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
