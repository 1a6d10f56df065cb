"""A live session: the sources this configuration asks for, sampled, labelled and handed to sinks.

    session = LiveSession(config, sinks)
    session.start()
    ...
    session.stop()

Everything runs on threads of its own; `start` returns at once. httpx, psutil and NVML are loaded
there, after the first paint.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from collectors.clock import Clock, SystemClock
from collectors.engine.discover import Discovery
from collectors.engine.endpoint import Endpoint
from collectors.engine.endpoints import Endpoints, address_of, find_page
from collectors.engine.facts import FactsReader
from collectors.engine.iterations import IterationStats
from collectors.engine.scrape import is_loopback
from collectors.gpu.feed import GpuFeed, LookUp
from collectors.gpu.gpus import Gpus
from collectors.gpu.page_search import PageSearch
from collectors.host import Host
from collectors.model import Interval, Tick
from collectors.readings import HostReading
from collectors.sampler import Sampler
from collectors.sources import HostSource, Source, SourceStatus
from collectors.text import clean
from collectors.watch import Watch
from dashboard.access import fetcher_of
from dashboard.config import Config
from dashboard.nvml import nvml_reader, peak_book
from dashboard.objectives import slo_book

if TYPE_CHECKING:
    from collectors.gpu.occupants import Occupant, Occupants
    from collectors.gpu.page_reader import PageReader
    from collectors.gpu.worker import GpuSource
    from collectors.phase.label import Labeller
    from exporters.health import CollectorHealth

_FACTS_SECONDS = 5.0


class Sink(Protocol):
    """Takes ticks, in order, on the sampler's thread. A sink that raises is left out from then on."""

    def put(self, tick: Tick) -> None: ...


class Labels(Protocol):
    """What a session needs of `collectors.phase.label.Labeller`."""

    def push(self, interval: Interval) -> Tick: ...
    def catch_up(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What a session is put together from. Tests put their own in place."""

    sources: Sequence[Source]
    discovery: Discovery | None = None
    look: Callable[[], None] = lambda: None
    """Looks for engines once, now, and takes over what it finds."""


def parts_of(config: Config, clock: Clock, nvml: GpuSource | None = None) -> Parts:
    """The sources and the discovery that a configuration asks for. Starts nothing, loads nothing slow.

    `nvml` is the reader of the GPUs where there is one already.
    """
    endpoints = Endpoints(
        clock,
        lambda url, engine: _endpoint(config, clock, url, engine),
        urls=config.engine.urls,
        add_found=config.engine.discover,
    )
    sources: list[Source] = [HostSource(_host_sampler(clock), clock)]
    if config.gpu.enabled or config.gpu.pages:
        sources.append(_gpus(config, clock, nvml))
    sources.append(endpoints)
    discovery = None
    if config.engine.discover or any(is_loopback(url) for url in config.engine.urls):
        discovery = Discovery(endpoints.update, clock, find_page=find_page if config.engine.discover else None)
    look = (lambda: endpoints.update(discovery.scan())) if discovery is not None else (lambda: None)
    return Parts(sources, discovery, look)


class LiveSession:
    """Sampler, labeller and sinks. One session is started once."""

    def __init__(
        self,
        config: Config,
        sinks: Sequence[Sink] = (),
        *,
        clock: Clock | None = None,
        parts: Parts | None = None,
        labeller: Labels | None = None,
        watch: Watch | None = None,
        patience: float | None = None,
    ) -> None:
        """`patience` is how long late answers are waited for, in seconds; see Sampler."""
        self._clock = clock or SystemClock()
        self._config = config
        self._parts = parts or parts_of(config, self._clock)
        self._labeller = labeller or new_labeller()
        self._sinks = list(sinks)
        self._watch = watch or Watch(slo_book(config.slo))
        self._dropped: list[SourceStatus] = []
        self._labelling: SourceStatus | None = None
        self._watching: SourceStatus | None = None
        self._delivering = threading.Lock()
        self.sampler = self._sampler(patience)

    def _sampler(self, patience: float | None = None) -> Sampler:
        return Sampler(
            self._parts.sources,
            interval=self._config.sampling.interval,
            deliver=self._deliver,
            clock=self._clock,
            engine_gpus=self._config.engine.gpus,
            patience=patience,
        )

    def start(self) -> None:
        """Returns at once. The first interval is handed on at the second whole edge from now."""
        self.sampler.start()
        if self._parts.discovery is not None:
            self._parts.discovery.start()

    def stop(self) -> None:
        """End all threads that can be ended; takes a second or two at worst."""
        if self._parts.discovery is not None:
            self._parts.discovery.stop()
        self.sampler.stop()

    def between_ticks(self) -> threading.Lock:
        """Held while a tick is labelled and handed on; whoever holds it can change what takes ticks."""
        return self._delivering

    def reconfigure(self, config: Config, *, parts: Parts | None = None) -> None:
        """Measure as another configuration says from now on, for a session that was started.

        Labels, sequence numbers and sinks go on. Where sources or intervals are others, an interval or
        two are missed, and the next one says why.
        """
        before, self._config = self._config, config
        if config.slo != before.slo:
            with self._delivering:
                self._watch.promise(slo_book(config.slo))
        if (config.sampling, config.engine, config.gpu) == (before.sampling, before.engine, before.gpu):
            return
        self.stop()
        stopped, self._parts = self.sampler, parts or parts_of(config, self._clock)
        self.sampler = self._sampler()
        self.sampler.continue_after(stopped, "the configuration was read anew")
        self.start()

    def health(self) -> tuple[CollectorHealth, ...]:
        """How each source fares, for a page of metrics. Safe from any thread."""
        from exporters.health import CollectorHealth

        offset = self._clock.wall_ns() / 1e9 - self._clock.monotonic()
        return tuple(
            CollectorHealth(
                one.collector,
                "" if one.source == one.collector else one.source,
                one.state == "ok",
                one.seconds,
                None if one.sampled is None else one.sampled + offset,
            )
            for one in self.sampler.status()
            if one.collector is not None
        )

    def status(self) -> list[SourceStatus]:
        """One line each: host, GPUs, every engine's page, and whatever else has gone wrong."""
        lines = self.sampler.status()
        discovery = self._parts.discovery
        if discovery is not None and discovery.problem is not None:
            lines.append(SourceStatus("discovery", "failed", discovery.problem))
        lines.extend(self._unread_lines())
        lines.extend(one for one in (self._labelling, self._watching) if one is not None)
        return [*lines, *self._dropped]

    def _unread_lines(self) -> Iterator[SourceStatus]:
        """Engines that run here and cannot be read, unless somebody named where they can, or they only start."""
        discovery = self._parts.discovery
        named = {port for url in self._config.engine.urls if (port := urlsplit(url).port) is not None}
        for one in discovery.unread if discovery is not None else ():
            if not one.starting and one.remedy is not None and not named.intersection(one.ports):
                yield SourceStatus(f"pid {one.root}", "unread", clean(f"{one.title} {one.reason}; {one.remedy}", 300))

    def _deliver(self, interval: Interval) -> None:
        with self._delivering:
            self._hand_on(interval)

    def _hand_on(self, interval: Interval) -> None:
        tick = self._with_events(self._label(interval))
        for sink in tuple(self._sinks):
            try:
                sink.put(tick)
            except Exception as error:  # one sink's trouble is not the others'
                self._sinks.remove(sink)
                self._dropped.append(SourceStatus(type(sink).__name__, "failed", _in_words(error)))
        if self._labelling is None:
            self._catch_up()

    def _catch_up(self) -> None:
        """Fits costs now that the tick is on its way: the next one has until its edge."""
        try:
            self._labeller.catch_up()
        except Exception as error:
            self._labelling = SourceStatus("labels", "failed", _in_words(error))

    def _label(self, interval: Interval) -> Tick:
        try:
            tick = self._labeller.push(interval)
        except Exception as error:  # the readings are worth showing without labels
            self._labelling = SourceStatus("labels", "failed", _in_words(error))
            return Tick(interval)
        self._labelling = None
        return tick

    def _with_events(self, tick: Tick) -> Tick:
        try:
            events = self._watch.push(tick)
        except Exception as error:  # nor do labels end because an event cannot be told
            self._watching = SourceStatus("events", "failed", _in_words(error))
            return tick
        self._watching = None
        return replace(tick, events=(*tick.events, *events)) if events else tick


class LiveFeed:
    """A live session as the source of a screen's ticks."""

    live = True

    def __init__(
        self,
        config: Config,
        sinks: Sequence[Sink] = (),
        *,
        clock: Clock | None = None,
        parts: Parts | None = None,
        labeller: Labels | None = None,
    ) -> None:
        """`sinks` get the same ticks as the screen, before it; the rest is as in LiveSession."""
        self._config = config
        self._sinks = sinks
        self._clock = clock
        self._parts = parts
        self._labeller = labeller
        self._session: LiveSession | None = None

    def start(self, deliver: Callable[[Tick], None]) -> None:
        self._session = LiveSession(
            self._config,
            [*self._sinks, _Screen(deliver)],
            clock=self._clock,
            parts=self._parts,
            labeller=self._labeller,
        )
        self._session.start()

    def stop(self) -> None:
        if self._session is not None:
            self._session.stop()

    def health(self) -> Sequence[CollectorHealth]:
        """As the session's; nothing before there is one."""
        return self._session.health() if self._session is not None else ()

    def status(self) -> Sequence[SourceStatus]:
        """The sources that are not well."""
        lines = self._session.status() if self._session is not None else ()
        return [line for line in lines if line.state != "ok"]


def new_labeller() -> Labeller:
    """A new one. Its rules are loaded with the first one only."""
    from collectors.phase.label import Labeller

    return Labeller()


class _Screen:
    def __init__(self, deliver: Callable[[Tick], None]) -> None:
        self._deliver = deliver

    def put(self, tick: Tick) -> None:
        self._deliver(tick)


def _occupants() -> LookUp:
    """Looks processes up; what that takes is loaded with the first one."""
    found: list[Occupants] = []

    def look_up(pids: Collection[int]) -> Mapping[int, Occupant]:
        if not found:
            from collectors.gpu.occupants import Occupants

            found.append(Occupants())
        return found[0].look_up(pids)

    return look_up


def _gpus(config: Config, clock: Clock, nvml: GpuSource | None) -> Gpus:
    """NVML's reader, the configured exporters' pages, and the search for others."""
    reader = nvml or nvml_reader(config)
    feed = GpuFeed(reader, _occupants()) if reader is not None else None
    search = PageSearch(clock).look if config.gpu.enabled and config.gpu.discover else None

    def make(url: str) -> PageReader:
        from collectors.gpu.page_reader import PageReader

        return PageReader(fetcher_of(config, url, monotonic=clock.monotonic), clock, book=peak_book(config))

    return Gpus(feed, make, urls=config.gpu.pages, search=search, clock=clock)


def _endpoint(config: Config, clock: Clock, url: str, engine: str | None) -> Endpoint:
    settings = config.engine
    facts = FactsReader(url, lambda one: fetcher_of(config, url, address=one, timeout=_FACTS_SECONDS))
    return Endpoint(
        fetcher_of(config, url, monotonic=clock.monotonic),
        clock,
        min_interval=settings.min_interval,
        timeout=settings.timeout,
        engine=engine,
        facts=facts,
        iterations=_iterations(config, url),
    )


def _iterations(config: Config, url: str) -> IterationStats | None:
    """The reader of a TensorRT-LLM server's step records, where the configuration gives them to us."""
    for records in config.engine.iteration_stats:
        if address_of(records)[:2] == address_of(url)[:2]:
            return IterationStats(fetcher_of(config, url, address=records, timeout=config.engine.timeout))
    return None


def _host_sampler(clock: Clock) -> Callable[[], HostReading]:
    """Samples this machine; psutil is loaded with the first sample."""
    hosts: list[Host] = []

    def sample() -> HostReading:
        if not hosts:
            hosts.append(Host(clock))
        return hosts[0].sample()

    return sample


def _in_words(error: Exception) -> str:
    return clean(f"{type(error).__name__}: {error}")
