"""The Prometheus page of this machine: what the intervals said, as metric families.

Readings and their amounts stand on the page as soon as an interval is closed. Phase and
bottleneck time advances with settled labels only, up to `phasetop_settled_timestamp_seconds`.
"""

from __future__ import annotations

import gzip as gzip_format
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from threading import Lock

from collectors.model import HOST, RULE_VERSION, Interval, Tick, engine_entity, gpu_entity
from collectors.phase.rules import phase_seconds
from collectors.pods import Pod
from collectors.readings import EngineReading, GpuReading
from exporters.accounts import Account, Accounts, is_measured, is_there
from exporters.exposition import Exposition, label_pairs
from exporters.families import Scope
from exporters.health import CollectorHealth, HealthFromTicks
from exporters.ledger import Ledger, PhaseSplit
from exporters.prometheus_page import PageState, Subject, render, write_page

# gzip at its fastest already makes the page ten times smaller.
_COMPRESSION = 1
# Ticks are late now and then; after this long without one, nothing is being measured.
_STALLED_INTERVALS = 5.0
_STALLED_SECONDS = 10.0
# An instance of a partitioned GPU that is not there any more was taken apart by someone, and is not lost.
_MIG = "MIG-"


class PrometheusSink:
    """Takes ticks on one thread and gives pages on any.

    `split` divides an interval's seconds among the phases. `health` is asked at each rendering for the
    state of the sources; without it that is derived from the ticks, and durations are missing. With
    `pods` the page says which Kubernetes containers use which GPU.
    `clock` is monotonic seconds: when ticks stop coming, readings and counters vanish, because
    nobody could tell them from fresh ones.
    """

    def __init__(
        self,
        split: PhaseSplit = phase_seconds,
        *,
        version: str,
        health: Callable[[], Iterable[CollectorHealth]] | None = None,
        pods: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pods = pods
        self._lock = Lock()
        self._clock = clock
        self._accounts = Accounts()
        self._ledger = Ledger(split)
        self._derived_health = HealthFromTicks()
        self._health = health or self._derived_health
        self._interval: Interval | None = None
        self._arrived = 0.0
        self._elapsed = 0.0
        self._stalled = False
        self._pages: dict[tuple[bool, bool], bytes] = {}
        labels = {"version": version, "rule_version": str(RULE_VERSION), "python_version": platform.python_version()}
        self._build = label_pairs(labels.items())

    def put(self, tick: Tick) -> None:
        """Count one tick. Nothing is rendered here."""
        with self._lock:
            self._interval = tick.interval
            self._arrived = self._clock()
            self._elapsed += tick.interval.duration
            self._count(tick)
            self._derived_health.put(tick.interval)
            self._pages.clear()

    def watch(self, health: Callable[[], Iterable[CollectorHealth]]) -> None:
        """Ask `health` for the state of the sources from now on."""
        self._health = health

    def ready(self) -> bool:
        """Whether an interval was taken in."""
        return self._interval is not None

    def page(self, openmetrics: bool, gzip: bool) -> bytes:
        """The page in OpenMetrics or in the text format, compressed or plain.

        Rendered on the first request after a tick and kept for those that follow.
        """
        with self._lock:
            page = self._kept(openmetrics, gzip)
        if page is not None:
            return page
        health = tuple(self._health())  # not under the lock: it may take locks of its own
        with self._lock:
            return self._kept(openmetrics, gzip) or self._render(openmetrics, gzip, health)

    def write(self, page: Exposition) -> None:
        """What a page has now, to something else that takes families and samples."""
        health = tuple(self._health())
        with self._lock:
            write_page(page, self._state(health))

    def _kept(self, openmetrics: bool, gzip: bool) -> bytes | None:
        if self._stalled != self._is_stalled():
            self._stalled = not self._stalled
            self._pages.clear()
        return self._pages.get((openmetrics, gzip))

    def _render(self, openmetrics: bool, gzip: bool, health: tuple[CollectorHealth, ...]) -> bytes:
        page = self._pages.get((openmetrics, False))
        if page is None:
            page = self._pages[openmetrics, False] = render(self._state(health), openmetrics)
        if gzip:
            page = self._pages[openmetrics, True] = gzip_format.compress(page, _COMPRESSION, mtime=0)
        return page

    def _count(self, tick: Tick) -> None:
        """Add up what was measured, and hand the interval to the ledger."""
        interval = tick.interval
        accounts = {HOST: self._accounts.host}
        alive: list[Account] = []
        if interval.host is not None:
            self._accounts.host.count("host", interval.host, self._elapsed)
        for gpu in interval.gpus.values():
            account = self._accounts.gpu(gpu)
            account.count("gpu", gpu, self._elapsed)
            account.report(gpu.xid_codes, interval.end / 1e9)
            if gpu.instances:
                continue  # the time is that of its instances, and must not be there twice
            accounts[gpu_entity(gpu.uuid)] = account
            if is_there(gpu):
                alive.append(account)
        for engine in interval.engines.values():
            account = accounts[engine_entity(engine.key)] = self._accounts.engine(engine)
            account.count("engine", engine, self._elapsed)
            if is_there(engine):
                alive.append(account)
        self._ledger.push(tick, accounts, tuple(alive))

    def _is_stalled(self) -> bool:
        if self._interval is None:
            return False
        allowed = max(_STALLED_SECONDS, _STALLED_INTERVALS * self._interval.duration)
        return self._clock() - self._arrived > allowed

    def _state(self, health: tuple[CollectorHealth, ...]) -> PageState:
        if self._stalled:
            health = tuple(replace(one, success=False) for one in health)
        pods = self._pods() if self.pods and not self._stalled else {}
        return PageState(self._build, self._subjects(), health, pods, self._elapsed, self._ledger.settled_until)

    def _pods(self) -> Mapping[str, Sequence[Pod]]:
        """The containers with processes on each GPU that is there, by the labels of its account."""
        interval = self._interval
        return {
            self._accounts.gpu(interval.gpus[uuid]).labels: [one.pod for one in processes if one.pod is not None]
            for uuid, processes in (interval.gpu_processes.items() if interval is not None else ())
            if interval is not None and uuid in interval.gpus and is_there(interval.gpus[uuid])
        }

    def _subjects(self) -> Mapping[Scope, list[Subject]]:
        interval = self._interval
        host = self._accounts.host
        if interval is None:
            return {"host": [Subject(host, None, "ok", counters=True)]}
        if self._stalled:
            gpus = self._accounts.gpus.values()
            return {"gpu": [Subject(account, None, "stale", counters=False) for account in gpus]}
        return {
            "host": [Subject(host, interval.host, "ok", counters=True)],
            "gpu": [
                self._gpu(interval, uuid, account)
                for uuid, account in self._accounts.gpus.items()
                if uuid in interval.gpus or not uuid.startswith(_MIG)
            ],
            "engine": [_subject(self._accounts.engine(one), one, interval) for one in interval.engines.values()],
        }

    def _gpu(self, interval: Interval, uuid: str, account: Account) -> Subject:
        """A GPU that was seen before and is missing is lost, or stale when no GPU could be read at all."""
        gpu = interval.gpus.get(uuid)
        if gpu is not None:
            return _subject(account, gpu, interval)
        return Subject(account, None, "lost" if interval.gpus else "stale", account.unsettled > 0)


def _subject(account: Account, reading: GpuReading | EngineReading, interval: Interval) -> Subject:
    is_partitioned = isinstance(reading, GpuReading) and bool(reading.instances)
    return Subject(
        account,
        reading if is_measured(reading, interval.duration) else None,
        reading.state,
        (is_there(reading) and not is_partitioned) or account.unsettled > 0,
    )
