"""The pages of GPU exporters that a session would read: what they give, and what would make them give more."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from collectors.clock import SystemClock
from collectors.engine.endpoints import address_of
from collectors.engine.scrape import PageProblem
from collectors.gpu.page_dcgm import DCGM
from collectors.gpu.page_search import PageSearch
from collectors.gpu.pages import GpuPage
from collectors.readings import GpuReading
from dashboard.access import fetcher_of
from dashboard.config import Config
from dashboard.doctor.finding import Finding

_TIMEOUT_SECONDS = 5.0
_BETWEEN_SECONDS = 1.1
"""Two reads this far apart tell an exporter that measures every second from one that does not."""
_COUNTERS = "in the file of its -f option (etc/default-counters.csv) remove the # before"
_TENSOR_AND_DRAM = "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE and DCGM_FI_PROF_DRAM_ACTIVE"
_OFTEN = "start it with --collect-interval 1000 (DCGM_EXPORTER_INTERVAL=1000)"


@dataclass(frozen=True, slots=True)
class SeenPage:
    """A page after two reads, or why there is none. `changed`: whether its figures moved between them."""

    url: str
    page: GpuPage
    readings: tuple[GpuReading, ...] = ()
    changed: bool = False
    problem: PageProblem | None = None


def look(config: Config) -> tuple[SeenPage, ...]:
    """Every page, configured or found, read twice. Takes seconds."""
    urls = {address_of(url): url for url in config.gpu.pages}
    if config.gpu.enabled and config.gpu.discover:
        urls = {**{address_of(url): url for url in PageSearch(SystemClock()).look()}, **urls}
    return tuple(_look_at(config, url) for url in urls.values())


def _look_at(config: Config, url: str) -> SeenPage:
    timeout = min(config.engine.timeout, _TIMEOUT_SECONDS)
    fetcher = fetcher_of(config, url, timeout=timeout)
    page = GpuPage()
    texts: list[str] = []
    try:
        for pause in (_BETWEEN_SECONDS, 0.0):
            with fetcher.within(2 * timeout):
                seen = fetcher.fetch()
            texts.append("\n".join(line for line in seen.text.splitlines() if not line.startswith("#")))
            if not page.put(seen.text, seen.arrived):
                raise PageProblem("blocked", "its page holds no metrics of a known GPU exporter")
            time.sleep(pause)
    except PageProblem as problem:
        return SeenPage(url, page, problem=problem)
    finally:
        fetcher.close()
    return SeenPage(url, page, page.readings(seen.arrived, patience=timeout), texts[0] != texts[1])


def page_findings(pages: Sequence[SeenPage]) -> Iterator[Finding]:
    """What each page gives; what of it is used for which GPU is told with the GPUs."""
    for seen in pages:
        exporter = seen.page.exporter
        if seen.problem is not None or exporter is None:
            reason = seen.problem.reason if seen.problem is not None else "no page"
            asks = seen.problem is not None and seen.problem.status in (401, 403)
            remedy = "name a file with its token in [engine.token_files]" if asks else None
            yield Finding("gpu", "missing", f"{seen.url}: {reason}", remedy)
            continue
        name = f"{exporter.title} at {seen.url}"
        yield Finding("gpu", "fine", f"{name}: {len(seen.readings)} rows of GPUs and instances")
        if not seen.changed:
            yield Finding(
                "gpu",
                "limited",
                f"{name}: its figures stayed the same for {_BETWEEN_SECONDS:g} s: too old to tell phases from",
                _OFTEN if exporter is DCGM else "have it measure every second",
            )
        if exporter is DCGM:
            yield from _profiling(name, seen)


def _profiling(name: str, seen: SeenPage) -> Iterator[Finding]:
    """Which of DCGM's profiling fields its page lacks."""
    measured = [row for row in seen.readings if not row.instances]
    if measured and all(row.tensor_active_ratio is None and row.dram_active_ratio is None for row in measured):
        is_listed = any("_PROF_" in family for family in seen.page.families)
        remedy = (
            "run it as root or with CAP_SYS_ADMIN, and end other profilers"
            if is_listed
            else f"{_COUNTERS} {_TENSOR_AND_DRAM}; before Hopper DCGM 4 needs datacenter-gpu-manager-4-proprietary"
        )
        yield Finding("gpu", "limited", f"{name}: no tensor and DRAM activity", remedy)
    elif measured and all(row.sm_active_ratio is None for row in measured):
        yield Finding("gpu", "note", f"{name}: no SM activity", f"{_COUNTERS} DCGM_FI_PROF_SM_ACTIVE")
