"""What does the fleet screen cost, from 10 nodes to 1,000, on a real Prometheus?

    python -m benchmarks.fleet [--nodes 10 --nodes 100 --nodes 1000] [--looks 6] [--directory DIR] [--json]

For each number of nodes: pages of 8 GPUs and one engine (`benchmarks.fleet_data`) every 30 s over half
an hour and the minutes to come are loaded into a Prometheus as blocks; it runs on loopback with
`deploy/prometheus/phasetop.rules.yml`. Then the fleet's app runs against it at 200x50, looking every
five seconds, and says how long a look took, when the map of time was full, how long its event loop was
ever held up, its memory (PSS), and how many queries and samples a look needs. Others at work on the
machine make looks longer and their CPU time hardly, so that both are told, and the machine's load.

Needs `prometheus` and `promtool`. 1,000 nodes take 2 GB of disk while they are made.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.fleet_data import write_openmetrics
from benchmarks.fleet_look import measure

_STEP = 30
_PAST, _FUTURE = 60, 34
_RULES = Path(__file__).parent.parent / "deploy" / "prometheus" / "phasetop.rules.yml"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, action="append")
    parser.add_argument("--looks", type=int, default=6)
    parser.add_argument("--directory", type=Path, help="where the blocks are made; a temporary one by default")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--raw", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.looks, rules=not args.raw)))
        return 0
    for nodes in args.nodes or [10, 100, 1000]:
        with tempfile.TemporaryDirectory(dir=args.directory, prefix="fleet-") as directory:
            row = _benchmark(nodes, args.looks, Path(directory))
        print(json.dumps(row) if args.json else _told(row), flush=True)
    return 0


def _benchmark(nodes: int, looks: int, directory: Path) -> dict[str, Any]:
    series = _load(nodes, directory)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shutil.copy(_RULES, directory / "rules.yml")
    # The blocks reach a little into the future, so that what the rules say now is out of order to them.
    config = (
        "global: {scrape_interval: 30s, evaluation_interval: 30s}\nrule_files: [rules.yml]\n"
        "storage: {tsdb: {out_of_order_time_window: 2h}}\n"
    )
    (directory / "prometheus.yml").write_text(config)
    row: dict[str, Any] = {"nodes": nodes, "series": series}
    server = subprocess.Popen(
        ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/tsdb",
         f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        row["raw"] = _measured(port, looks, "--raw", wait=5)
        row["rules"] = _measured(port, looks, wait=75)
    finally:
        server.terminate()
        server.wait(30)
    return row


def _load(nodes: int, directory: Path) -> int:
    start = (int(time.time()) // _STEP - _PAST) * _STEP
    file = directory / "data.om"
    series = write_openmetrics(file, nodes, start, _PAST + _FUTURE, _STEP)
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(file), str(directory / "tsdb")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    file.unlink()
    return series


def _measured(port: int, looks: int, *options: str, wait: float) -> dict[str, Any]:
    """In a process of its own, so that its memory is the app's."""
    time.sleep(wait)
    command = [
        sys.executable,
        "-m",
        "benchmarks.fleet",
        "--measure",
        f"http://127.0.0.1:{port}",
        "--looks",
        str(looks),
        *options,
    ]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=600).stdout)
    return found


def _told(row: dict[str, Any]) -> str:
    lines = [f"{row['nodes']} nodes, {row['series']:,} series"]
    for name in ("raw", "rules"):
        one = row[name]
        lines.append(
            f"  {name:5}: look {one['look_seconds']} s (worst {one['worst_look_seconds']}), CPU time of a look "
            f"{one['look_cpu_seconds']} s, of all until the next {one['turn_cpu_seconds']} s, map full after "
            f"{one['heat_full_seconds']} s, held up {one['held_up_seconds']} s (a bystander "
            f"{one['bystander_held_up_seconds']} s; computed at most {one['screen_computed_seconds']} s at once), "
            f"{one['pss_mb']} MB, "
            f"{one['queries']} queries, {one['samples_read']:,.0f} samples, rules {one['uses_rules']}, "
            f"load {one['load']} {' '.join(one['problems'])}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
