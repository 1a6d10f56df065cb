"""A handful of nodes without a Prometheus: their exporters' pages, read here.

Each page has a client and a thread of its own, so that a slow host delays nobody. Rates are differences
of counters over about a minute. There is no past but what was read since the start.
"""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from collectors.clock import NANO
from collectors.engine.credentials import Credentials
from collectors.engine.page import PageMemo, Series, read_page
from collectors.engine.scrape import Fetcher, PageProblem
from collectors.engine.scrape_problems import Settings
from collectors.fleet.happenings import Happenings
from collectors.fleet.heat import HeatMap, Span, packed
from collectors.fleet.model import USUAL_QUANTILE, Node, Shares, Snapshot, health_of
from collectors.fleet.moments import WANTED, Moment, Place, place_of, tick_of
from collectors.fleet.tables import natural
from collectors.histogram import Histogram, merge
from collectors.median import mean_of_known
from collectors.model import HOST, PHASES, Event, Tick, gpu_entity
from collectors.phase.rules import phase_seconds
from collectors.promql import PromProblem
from collectors.slo import SloBook
from collectors.sources import SourceStatus

_WINDOW = 60.0
"""Seconds over which rates are taken."""
_HISTORY = 1440
"""Looks kept for the map of time: four hours at 10 s."""
_STALE_LOOKS = 3.0
_MOST_EVENTS = 200
_SETTLED = "phasetop_settled_timestamp_seconds"
_SETTINGS = Settings("give --token-file or --header-file, or NAME:PASSWORD@HOST:PORT", "--ca-file")
_PATIENCE = 0.25
"""Of the interval: so long a look waits for pages that are still on their way."""

Deliver = Callable[[Tick], None]


class DirectFleet:
    """Reads the pages of up to `MOST` exporters every `interval` seconds."""

    MOST = 64
    has_past = False

    def __init__(
        self,
        targets: Mapping[str, Mapping[str, str]],
        *,
        interval: float = 10.0,
        timeout: float = 10.0,
        headers: Callable[[], Mapping[str, str]] = dict,
        verify: bool | Path = True,
        book: SloBook | None = None,
        fetcher: Callable[[str], Fetcher] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`targets` are page addresses with the labels they are grouped by.

        `headers` are the credentials for all of them, asked for every page. A name and a password in an
        address (`userinfo` of it) go to that exporter instead. `verify` is as in `Fetcher`. `book` are
        the objectives whose breach is an event.
        """
        self.scrape_interval = interval
        self._monotonic = monotonic
        self._wall = wall
        self._began = monotonic()

        def usual(url: str) -> Fetcher:
            own = getattr(url, "userinfo", None)
            return Fetcher(
                str(url), timeout=timeout, headers=headers if own is None else Credentials(userinfo=own), verify=verify,
                settings=_SETTINGS, monotonic=monotonic,
            )  # fmt: skip

        names = _names(targets)
        self._readers = {
            names[url]: _Reader(
                names[url], labels, (fetcher or usual)(url), interval, Happenings(book), monotonic, wall
            )
            for url, labels in targets.items()
        }
        self._is_started = False

    def look(self, at: float | None = None, quantile: float = USUAL_QUANTILE) -> Snapshot:
        """What the newest pages say. It waits a little for pages on their way, and never for a slow one."""
        if at is not None:
            raise PromProblem("query", "exporters tell of now alone; a Prometheus keeps what was")
        started = self._monotonic()
        if not self._is_started:
            self._is_started = True
            for number, reader in enumerate(self._readers.values()):
                reader.start(delay=0.0 if len(self._readers) < 8 else number * 0.02)
        deadline = started + min(2.0, self.scrape_interval * _PATIENCE)
        while self._monotonic() < deadline and any(reader.is_new for reader in self._readers.values()):
            time.sleep(0.02)
        nodes = [reader.node(quantile) for reader in self._readers.values()]
        return Snapshot(
            at=self._wall(), nodes=tuple(sorted(nodes, key=lambda node: natural(node.name))),
            took=self._monotonic() - started, problems=_unread(self._readers.values()), quantile=quantile,
        )  # fmt: skip

    def heat(self, heat: HeatMap, span: Span) -> None:
        for index in range(span.first, span.last + 1):
            cells: dict[str, int] = {}
            for name, reader in self._readers.items():
                shares = reader.shares_between(index * heat.step, (index + 1) * heat.step)
                if shares is not None:
                    cells[name] = packed(shares[0], shares[1], shares[3], shares[4])
            heat.put(index, cells)

    def open(self, name: str, at: float | None) -> NodeFeed:
        """The node's intervals from now on."""
        return NodeFeed(self._readers[name])

    def close(self) -> None:
        for reader in self._readers.values():
            reader.stop()


def _names(urls: Iterable[str]) -> dict[str, str]:
    """Host names, with the port where it is not the usual one, and the whole address where that tells nothing apart."""
    short = {}
    for url in urls:
        parts = urlsplit(url)
        short[url] = parts.netloc.removesuffix(":19417")
    taken = list(short.values())
    return {url: name if taken.count(name) == 1 else url for url, name in short.items()}


def _unread(readers: Iterable[_Reader]) -> tuple[str, ...]:
    return tuple(f"{reader.name}: {reader.problem}" for reader in readers if reader.problem is not None)


class _Reader:
    """One exporter's page, read again and again on a thread of its own."""

    def __init__(
        self, name: str, labels: Mapping[str, str], fetcher: Fetcher, interval: float,
        happenings: Happenings, monotonic: Callable[[], float], wall: Callable[[], float],
    ) -> None:  # fmt: skip
        self.name = name
        self.problem: str | None = None
        self.is_new = True
        """Whether nothing has come of it yet, neither a page nor a reason why not."""
        self._labels = dict(labels)
        self._fetcher = fetcher
        self._interval = interval
        self._monotonic = monotonic
        self._wall = wall
        self._memo = PageMemo(lambda sample: sample in WANTED or sample == _SETTLED)
        self._places: dict[Series, Place | None] = {}
        self._lock = threading.Lock()
        self._moments: deque[tuple[float, float, Moment]] = deque()
        self._settled: float | None = None
        self._times = array("d")
        self._phases = tuple(array("d") for _ in PHASES)
        self._watchers: list[Deliver] = []
        self._sequence = 0
        self._happenings = happenings
        self._events: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._stopped = threading.Event()

    def start(self, *, delay: float) -> None:
        threading.Thread(target=self._run, args=(delay,), name=f"read {self.name}", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        self._fetcher.close()

    def _run(self, delay: float) -> None:
        due = self._monotonic() + delay
        while not self._stopped.wait(max(0.0, due - self._monotonic())):
            due = max(due + self._interval, self._monotonic())
            self.read()

    def read(self) -> None:
        """One page. What is wrong with it is told in `problem`."""
        try:
            page = self._fetcher.fetch()
        except PageProblem as problem:
            self.problem, self.is_new = problem.reason, False
            return
        moment = self._moment(page.text)
        if not moment:
            self.problem, self.is_new = "its page holds no figures of phasetop", False
            return
        self._take(page.arrived, self._wall(), moment)
        self.problem, self.is_new = None, False

    def _moment(self, text: str) -> Moment:
        moment = Moment()
        self._settled = None
        if len(self._places) > 20_000:
            self._places.clear()
        for series, value in read_page(text, self._memo):
            if series.name == _SETTLED:
                self._settled = value
                continue
            if series not in self._places:
                self._places[series] = place_of(series.name, series.labels)
            place = self._places[series]
            if place is not None:
                moment.put(place, series.labels, value)
        return moment

    def _take(self, arrived: float, wall: float, moment: Moment) -> None:
        with self._lock:
            last = self._moments[-1] if self._moments else None
            self._moments.append((arrived, wall, moment))
            while len(self._moments) > 2 and arrived - self._moments[1][0] >= _WINDOW:
                self._moments.popleft()
            self._times.append(wall)
            for phase, track in zip(PHASES, self._phases, strict=True):
                track.append(moment.numbers.get(("phase", ("host",), "phase", phase), 0.0))
            if len(self._times) > _HISTORY:
                del self._times[0]
                for track in self._phases:
                    del track[0]
            if last is None or arrived <= last[0]:
                return
            self._sequence += 1
            tick = self._tick(last, (arrived, wall, moment), self._sequence)
            tick = replace(tick, events=self._happenings.push(tick))
            self._events.extend(tick.events)
            watchers = list(self._watchers)
        for deliver in watchers:
            deliver(tick)

    def _tick(self, before: tuple[float, float, Moment], now: tuple[float, float, Moment], sequence: int) -> Tick:
        seconds = now[0] - before[0]
        end = round(now[1] * NANO)
        return tick_of(before[2], now[2], sequence=sequence, start=end - round(seconds * NANO), end=end,
                       seconds=seconds, name=self.name)  # fmt: skip

    def node(self, quantile: float = USUAL_QUANTILE) -> Node:
        """The node's row: rates over the last minute, latencies of that quantile."""
        with self._lock:
            moments = list(self._moments)
        if not moments or self._monotonic() - moments[-1][0] > _STALE_LOOKS * self._interval + 1:
            is_waiting = self.problem is None
            return Node(name=self.name, health="stale" if is_waiting else "down", labels=self._labels)
        if len(moments) == 1:
            return Node(name=self.name, labels=self._labels)
        tick = self._tick(moments[0], moments[-1], 0)
        settled = self._settled
        age = None if settled is None else self._wall() - settled
        return node_of(tick, self.name, self._labels, age, quantile)

    def shares_between(self, start: float, end: float) -> Shares | None:
        """Shares of the machine's settled time between two moments (wall seconds); None where nothing was read."""
        with self._lock:
            first, last = bisect_right(self._times, start) - 1, bisect_right(self._times, end) - 1
            if first < 0 or last <= first or start - self._times[first] > 3 * self._interval:
                return None
            spent = [track[last] - track[first] for track in self._phases]
        total = sum(spent)
        if total <= 0 or min(spent) < 0:
            return None
        return (spent[0] / total, spent[1] / total, spent[2] / total, spent[3] / total, spent[4] / total)

    def watch(self, deliver: Deliver) -> None:
        """Delivers the newest interval, with all that happened so far, and from then on each one as it comes."""
        with self._lock:
            self._watchers.append(deliver)
            if len(self._moments) > 1:
                self._sequence += 1
                newest = self._tick(self._moments[-2], self._moments[-1], self._sequence)
                deliver(replace(newest, events=tuple(self._events)))

    def leave(self, deliver: Deliver) -> None:
        with self._lock:
            if deliver in self._watchers:
                self._watchers.remove(deliver)


class NodeFeed:
    """One node's pages as they come: what the ordinary screens show of it."""

    live = True

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._deliver: Deliver | None = None

    def start(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._reader.watch(deliver)

    def stop(self) -> None:
        if self._deliver is not None:
            self._reader.leave(self._deliver)

    def status(self) -> Sequence[SourceStatus]:
        problem = self._reader.problem
        return [SourceStatus(self._reader.name, "down", problem)] if problem is not None else []


def node_of(
    tick: Tick, name: str, labels: Mapping[str, str], settled_age: float | None, quantile: float = USUAL_QUANTILE
) -> Node:
    """One interval as a row of the fleet, with latencies of that quantile."""
    interval = tick.interval
    gpus = [gpu for gpu in interval.gpus.values() if not gpu.instances]
    engines = [engine for engine in interval.engines.values() if engine.role != "router"]
    lost = sum(gpu.state == "lost" for gpu in gpus)
    down = sum(engine.state == "down" for engine in engines)
    entities = [gpu_entity(gpu.uuid) for gpu in gpus if gpu.state != "lost"] or [HOST]
    seconds = [phase_seconds(tick.labels[entity].phase, 1.0) for entity in entities]
    host = tick.labels[HOST]
    clocks = [
        gpu.sm_clock_hertz / gpu.sm_clock_max_hertz
        for gpu in gpus
        if gpu.sm_clock_hertz is not None and gpu.sm_clock_max_hertz
    ]
    return Node(
        name=name, health=health_of(1.0, settled_age, lost, down), labels=labels, settled_age=settled_age,
        phases=_mean_shares(seconds), bottlenecks=host.bottleneck.shares,
        gpus=len(gpus) or None, gpus_lost=lost, engines_down=down,
        sm=mean_of_known(gpu.sm_active_ratio for gpu in gpus),
        dram=mean_of_known(gpu.dram_active_ratio for gpu in gpus), watts=_sum(gpu.power_watts for gpu in gpus),
        clock=mean_of_known(clocks),
        prompt_rate=_rate(engines, "prompt_tokens_computed"), generated_rate=_rate(engines, "generation_tokens"),
        running=_sum(engine.requests_running for engine in engines),
        waiting=_sum(engine.requests_waiting for engine in engines),
        kv_cache=max((kv for engine in engines if (kv := engine.kv_cache_usage_ratio) is not None), default=None),
        ttft=_latency((engine.ttft for engine in engines), quantile),
        tpot=_latency((engine.tpot for engine in engines), quantile),
        models=_words(engine.model for engine in engines), roles=_words(engine.role for engine in engines),
        engine_names=_words(engine.engine for engine in engines), gpu_names=_words(gpu.name for gpu in gpus),
    )  # fmt: skip


def _mean_shares(seconds: Sequence[Mapping[str, float]]) -> Shares:
    means = [sum(one[phase] for one in seconds) / len(seconds) for phase in PHASES]
    return (means[0], means[1], means[2], means[3], means[4])


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _rate(engines: Iterable[object], name: str) -> float | None:
    return _sum(
        amount / window
        for engine in engines
        if (amount := getattr(engine, name)) is not None and (window := getattr(engine, "window_seconds", None))
    )


def _latency(found: Iterable[Histogram | None], quantile: float) -> float | None:
    together = merge(one for one in found if one is not None)
    return None if together is None else together.quantile(quantile)


def _words(found: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({one for one in found if one}))
