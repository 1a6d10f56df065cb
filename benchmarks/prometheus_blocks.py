"""Does a real Prometheus give the shares of a recording, when asked about blocks made of its OpenMetrics dump?

    python -m benchmarks.prometheus_blocks RECORDING [--within 0.05]

`phasetop dump --format openmetrics`, `promtool tsdb create-blocks-from openmetrics`, and a Prometheus on a
loopback port over these blocks. Printed is, for each engine, the prefill share of its busy time by
`rate(phasetop_engine_phase_seconds_total[...])` over the whole recording, beside that of the stored labels.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.prometheus_shares import EngineKey, compare, engines_by_rate, running_prometheus
from benchmarks.report_prometheus import Scraped, blocks
from collectors.phase.rules import phase_seconds
from collectors.replay import Recording


def shares(recording: Path) -> tuple[dict[EngineKey, float | None], float, float]:
    """The prefill share of each engine's busy time by the stored labels, and from when to when (epoch seconds)."""
    spent: dict[EngineKey, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    with Recording(recording) as opened:
        for tick in opened.ticks():
            for key in tick.interval.engines:
                label = tick.labels.get(f"engine/{key[0]}#{key[1]}")
                if label is not None:
                    for phase, seconds in phase_seconds(label.phase, tick.interval.duration).items():
                        spent[key][phase] += seconds
        start, end = opened.start / 1e9, opened.end / 1e9
    found: dict[EngineKey, float | None] = {}
    for key, phases in spent.items():
        busy = phases["prefill"] + phases["decode"]
        found[key] = phases["prefill"] / busy if busy else None
    return found, start, end


def asked(recording: Path, directory: Path) -> tuple[list[dict[str, Any]], float]:
    """What Prometheus says of each engine, with the truth beside it; the largest difference in points."""
    truth, start, end = shares(recording)
    with running_prometheus(None, blocks([Scraped("node", recording, every=0.0)], directory)) as prometheus:
        # A range reaches from after its beginning; labels settle up to ten seconds behind the interval they come with.
        engines = engines_by_rate(prometheus, end - start + 30, end + 15)
    return engines, compare(engines, truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--within", type=float, help="fail when an engine's share is further off, in points")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        engines, worst = asked(arguments.recording, Path(directory))
    for engine in engines:
        print(
            f"{engine['endpoint']}#{engine['engine_index']}: prefill share {engine['prefill_share']},"
            f" stored {engine['truth']}, {engine['difference_points']} points apart"
        )
    if not engines or (arguments.within is not None and worst > arguments.within):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
