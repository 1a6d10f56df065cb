"""Does a report on a Prometheus say what the report on the recording says of the same time?

    python -m benchmarks.report_prometheus RECORDING [--every 15] [--markdown]

The recording becomes blocks of a Prometheus, as if its exporter had been scraped every so many seconds
(`phasetop dump --format openmetrics`, `promtool tsdb create-blocks-from openmetrics`); both are reported on.
A row gives a figure of both and how far they are apart.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.prometheus_shares import running_prometheus
from collectors.analysis.exported import Stretch
from collectors.analysis.exported import study as exported_study
from collectors.analysis.figures import Figure, Report
from collectors.analysis.report import report, report_of
from collectors.analysis.settings import Settings
from collectors.fleet.queries import Target
from collectors.promql import PromClient
from collectors.replay import Recording
from collectors.slo import Objective, Slo, SloBook
from exporters.openmetrics_dump import dump_openmetrics

PROMISED = Settings(promises=SloBook(Slo(Objective(2.0, 0.99), Objective(0.1, 0.99))))


@dataclass(frozen=True, slots=True)
class Scraped:
    """One life of an exporter: a stretch of a recording (wall-clock ns), scraped every so many seconds."""

    instance: str
    recording: Path
    start: int | None = None
    end: int | None = None
    every: float = 5.0


def blocks(lives: Sequence[Scraped], directory: Path) -> Path:
    """The blocks of a Prometheus; counters begin at 0 with each life."""
    promtool = shutil.which("promtool")
    if promtool is None:
        sys.exit("promtool is not installed (Debian: apt install prometheus)")
    for number, life in enumerate(lives):
        page = directory / f"{number}.txt"
        labels = {"job": "phasetop", "instance": life.instance}
        with Recording(life.recording) as recording, page.open("w") as out:
            dump_openmetrics(recording, out, life.start, life.end, every=life.every, labels=labels)
        command = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(page), str(directory / "blocks")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return directory / "blocks"


@contextmanager
def asking(data: Path) -> Iterator[PromClient]:
    """A client of a Prometheus that has these blocks."""
    with running_prometheus(None, data) as prometheus:
        client = PromClient(prometheus.url, timeout=60.0)
        try:
            yield client
        finally:
            client.close()


def compared(path: Path, every: float, directory: Path) -> Iterator[tuple[Figure, Figure | None]]:
    """Each figure of the recording's report, with that of the Prometheus'."""
    with Recording(path) as recording:
        true = report(recording, PROMISED)
        stretch = Stretch(Target(), recording.start / 1e9, recording.end / 1e9)
    with asking(blocks([Scraped("node", path, every=every)], directory)) as client:
        began, spent = time.perf_counter(), time.process_time()
        told = figures(report_of(exported_study(client, stretch, PROMISED)))
        took, spent = time.perf_counter() - began, time.process_time() - spent
        print(f"{client.queries} queries, {took:.1f} s, {spent:.2f} s of CPU time here", file=sys.stderr)
    for key, figure in figures(true).items():
        yield figure, told.get(key)


def figures(made: Report) -> dict[str, Figure]:
    return {figure.key: figure for section in made.sections for figure in section.figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--every", type=float, default=15.0, help="seconds from scrape to scrape")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    form = "| {} | {} | {} | {} |" if arguments.markdown else "{:<48} {:>12} {:>12}  {}"
    print(form.format("figure", "recording", "Prometheus", "apart"))
    if arguments.markdown:
        print(form.format(*["---"] * 4))
    with tempfile.TemporaryDirectory() as scratch:
        for figure, other in compared(arguments.recording, arguments.every, Path(scratch)):
            found = None if other is None else other.value
            apart = (other.missing or "") if other is not None and found is None else ""
            if found is not None and figure.value:
                apart = f"{(found / figure.value - 1) * 100:+.1f} %"
            told = ["-" if value is None else f"{value:.5g}" for value in (figure.value, found)]
            print(form.format(figure.title, *told, apart))


if __name__ == "__main__":
    main()
