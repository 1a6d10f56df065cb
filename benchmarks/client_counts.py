"""Whether a recording's counts and latencies are those that the engine's client saw.

    phasetop record DIR --engine URL &          (a load of your own runs meanwhile, and logs what it got)
    python -m benchmarks.client_counts DIR LOG... [--endpoint URL] [--from EPOCH] [--to EPOCH] [--json]

A log holds one JSON object a line: a request, or an object with a list of `requests`. Of a request
are read `t_send`, `t_first` and `t_end` (epoch seconds; `t_first` of the first token), `chunk_ms`
(milliseconds after `t_send` of each piece of the streamed answer) and `usage` as the server
returned it (OpenAI's form: `prompt_tokens`, `completion_tokens`, `prompt_tokens_details.cached_tokens`).

Amounts of all intervals are summed and must be the client's sums exactly. Quantiles of time to
first token and time between tokens, over the whole recording and for each minute of it, may be one
bucket of the engine's histogram apart: a client also sees the network, and an engine's histogram
knows no better than its buckets. Tokens that arrive in one piece are one observation to the client
and several to the engine.
"""

from __future__ import annotations

import argparse
import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from collectors.histogram import Histogram, merge
from collectors.readings import EngineReading
from collectors.replay import Recording

QUANTILES = (0.5, 0.95, 0.99)
_FEWEST = 20
"""Observations that a minute needs for its quantiles to be compared."""
_MINUTE = 60.0

COUNTS: Mapping[str, str] = {
    "prompt_tokens": "prompt",
    "prompt_tokens_cached": "cached",
    "prompt_tokens_computed": "computed",
    "prompt_tokens_ended": "prompt",
    "generation_tokens": "generated",
    "generation_tokens_ended": "generated",
    "first_tokens": "requests",
    "requests_finished": "requests",
}
"""Fields of a reading, and the client's sum that each should be."""


@dataclass(slots=True)
class Client:
    """What the client saw: sums, and latencies in seconds with the moment each was known."""

    sums: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("requests", "prompt", "cached", "computed", "generated"), 0)
    )
    ttft: list[tuple[float, float]] = field(default_factory=list)
    tpot: list[tuple[float, float]] = field(default_factory=list)
    without_usage: int = 0

    def add(self, request: Mapping[str, Any]) -> None:
        usage = request.get("usage")
        if not usage:
            self.without_usage += 1
            return
        prompt = int(usage["prompt_tokens"])
        cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
        for name, count in (("requests", 1), ("prompt", prompt), ("cached", cached), ("computed", prompt - cached)):
            self.sums[name] += count
        self.sums["generated"] += int(usage.get("completion_tokens") or 0)
        sent, first = float(request["t_send"]), request.get("t_first")
        if first is not None:
            self.ttft.append((float(first), float(first) - sent))
        chunks = [milliseconds / 1e3 for milliseconds in request.get("chunk_ms", ())]
        self.tpot.extend((sent + after, after - before) for before, after in pairwise(chunks))


@dataclass(slots=True)
class Recorded:
    """What the recording holds of one engine: sums by field, and histograms with their intervals' ends."""

    sums: dict[str, float] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    intervals: int = 0
    histograms: dict[str, list[tuple[float, Histogram]]] = field(default_factory=lambda: {"ttft": [], "tpot": []})

    def add(self, end: float, reading: EngineReading) -> None:
        self.intervals += 1
        for name in COUNTS:
            value = getattr(reading, name)
            if value is None:
                self.missing[name] += 1
            else:
                self.sums[name] = self.sums.get(name, 0.0) + value
        for name, kept in self.histograms.items():
            histogram = getattr(reading, name)
            if histogram is not None:
                kept.append((end, histogram))


@dataclass(frozen=True, slots=True)
class Row:
    """One quantile, both ways; `apart` is in buckets of the engine's histogram."""

    name: str
    over: str
    quantile: float
    observations: int
    recorded: float
    client: float
    apart: int


def client_of(paths: Iterable[Path], begin: float, until: float) -> Client:
    """Everything the logs hold of requests that were sent within [begin, until)."""
    client = Client()
    for path in paths:
        for line in path.read_text().splitlines():
            if not line.strip():
                continue
            one = json.loads(line)
            for request in one.get("requests", [one]):
                if begin <= float(request["t_send"]) < until:
                    client.add(request)
    return client


def recorded_of(path: Path, endpoint: str | None, begin: float, until: float) -> dict[str, Recorded]:
    """By engine and endpoint; ranks of one page are added up."""
    found: dict[str, Recorded] = {}
    with Recording(path) as recording:
        for tick in recording.ticks(round(begin * 1e9), None if until == float("inf") else round(until * 1e9)):
            for reading in tick.interval.engines.values():
                if endpoint is None or reading.endpoint.startswith(endpoint):
                    name = f"{reading.engine} {reading.endpoint}"
                    found.setdefault(name, Recorded()).add(tick.interval.end / 1e9, reading)
    return found


def rows(client: Client, recorded: Recorded) -> Iterator[Row]:
    """Quantiles over the whole recording, then those of each minute that has enough observations."""
    for name, seen in (("ttft", client.ttft), ("tpot", client.tpot)):
        histograms = recorded.histograms[name]
        whole = merge(one for _, one in histograms)
        if whole is None or not whole.count or not seen:
            continue
        yield from _compared(name, "all", whole, [seconds for _, seconds in seen])
        minutes: dict[int, list[Histogram]] = defaultdict(list)
        for end, histogram in histograms:
            # An interval that ends on a minute's edge is of the minute before it.
            minutes[int((end - 1e-3) // _MINUTE)].append(histogram)
        for number, (minute, parts) in enumerate(sorted(minutes.items())):
            of_minute = merge(parts)
            known = [seconds for at, seconds in seen if int(at // _MINUTE) == minute]
            if of_minute is not None and min(of_minute.count, len(known)) >= _FEWEST:
                yield from _compared(name, f"minute {number}", of_minute, known)


def _compared(name: str, over: str, histogram: Histogram, seen: Sequence[float]) -> Iterator[Row]:
    ordered = sorted(seen)
    for quantile in QUANTILES:
        of_recording = histogram.quantile(quantile)
        of_client = ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]
        if of_recording is None:
            continue
        apart = abs(bisect_left(histogram.bounds, of_recording) - bisect_left(histogram.bounds, of_client))
        yield Row(name, over, quantile, histogram.count, of_recording, of_client, apart)


def report(name: str, client: Client, recorded: Recorded) -> dict[str, Any]:
    """Both sides of every count and quantile, for one engine."""
    counts = {
        field: {"recorded": recorded.sums[field], "client": client.sums[of_client], "missing": recorded.missing[field]}
        for field, of_client in COUNTS.items()
        if field in recorded.sums
    }
    quantiles = [
        {one: getattr(row, one) for one in ("name", "over", "quantile", "observations", "recorded", "client", "apart")}
        for row in rows(client, recorded)
    ]
    return {"engine": name, "intervals": recorded.intervals, "counts": counts, "quantiles": quantiles}


def _print(found: Mapping[str, Any], client: Client) -> None:
    print(f"{found['engine']}: {found['intervals']} intervals, {client.sums['requests']} requests")
    if client.without_usage:
        print(f"  {client.without_usage} requests have no usage in the log and are not counted")
    for name, one in found["counts"].items():
        difference = one["recorded"] - one["client"]
        print(
            f"  {name:24s} {one['recorded']:>12.0f}  client {one['client']:>12d}  "
            f"{'equal' if not difference else f'{difference:+.0f}'}   missing in {one['missing']} intervals"
        )
    if not found["quantiles"]:
        print("  latencies: none recorded")
    for one in found["quantiles"]:
        print(
            f"  {one['name']} p{one['quantile'] * 100:<3g} {one['over']:9s} {one['observations']:>7d} observed  "
            f"{one['recorded']:9.4f} s  client {one['client']:9.4f} s  {one['apart']} buckets apart"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("logs", nargs="+", type=Path)
    parser.add_argument("--endpoint", help="the engine's page, where the recording holds several engines")
    parser.add_argument("--from", dest="begin", type=float, default=0.0, help="epoch seconds")
    parser.add_argument("--to", dest="until", type=float, default=float("inf"), help="epoch seconds")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    client = client_of(arguments.logs, arguments.begin, arguments.until)
    found = recorded_of(arguments.recording, arguments.endpoint, arguments.begin, arguments.until)
    reports = [report(name, client, one) for name, one in found.items()]
    if arguments.json:
        print(json.dumps(reports, indent=1))
        return
    for one in reports:
        _print(one, client)


if __name__ == "__main__":
    main()
