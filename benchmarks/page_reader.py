"""Reading a vLLM page: this program's reader against prometheus_client's parser, in one run.

    python -m benchmarks.page_reader [PAGE...]

Without pages it reads a made one of 60 kB. Of each: microseconds a reading takes, of the reader
alone and with the snapshots made of it, and how often the parser's time that is. Both see a page
whose numbers changed since the reading before.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.vllm_page import page as made_page
from collectors.engine.page import read_page
from collectors.engine.reading import engine_reading, new_memo, snapshots

ROUNDS = 30
ASKED = 20.0
"""How many times faster than the parser a reading has to be."""


def best_seconds(work: Callable[[str], object], pages: Sequence[str], rounds: int = ROUNDS) -> float:
    """The fastest of several readings: the one that other load on the machine disturbed least."""
    times = []
    for index in range(rounds):
        text = pages[index % len(pages)]
        started = time.perf_counter()
        work(text)
        times.append(time.perf_counter() - started)
    return min(times)


def moved(text: str) -> str:
    """The page with every whole number one higher."""
    return re.sub(r"(?m)(?<= )(\d+)(\.0)?$", lambda found: f"{int(found[1]) + 1}{found[2] or ''}", text)


def parse_all(text: str) -> int:
    return sum(len(family.samples) for family in text_string_to_metric_families(text))


def compare(name: str, text: str) -> float:
    pages = (text, moved(text))
    memo, whole_memo = new_memo(), new_memo()
    reader = best_seconds(lambda page: read_page(page, memo), pages)
    whole = best_seconds(lambda page: snapshots("http://127.0.0.1/metrics", page, 0.0, whole_memo), pages)
    before, after = (snapshots("http://127.0.0.1/metrics", page, 0.0, whole_memo) for page in pages)
    pairs = list(zip(before, after, strict=True))
    reading = best_seconds(lambda _: [engine_reading(one, two, end=0.0) for one, two in pairs], pages)
    parser = best_seconds(parse_all, pages, 5)
    samples = parse_all(text)
    print(
        f"{name}: {len(text) / 1e3:.0f} kB, {samples} samples; parser {parser * 1e6:.0f} µs "
        f"({parser / samples * 1e6:.1f} a sample), reader {reader * 1e6:.0f} µs: {parser / reader:.0f} times; "
        f"with snapshots {whole * 1e6:.0f} µs: {parser / whole:.0f} times; reading between two {reading * 1e6:.0f} µs"
    )
    return parser / reader


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", metavar="PAGE", nargs="*", help="saved pages (default: one that is made)")
    paths = parser.parse_args().pages
    pages = {path: Path(path).read_text(encoding="utf-8") for path in paths} or {"made page": made_page(100.0)}
    ratios = [compare(name, text) for name, text in pages.items()]
    print(f"lowest ratio {min(ratios):.1f}, asked {ASKED:.0f}")
    return 0 if min(ratios) >= ASKED else 1


if __name__ == "__main__":
    sys.exit(main())
