"""What is wrong beside what limits the work: engines that do not answer, and latencies over what is promised."""

from __future__ import annotations

from collections.abc import Iterator

from collectors.model import EngineKey
from collectors.slo import LATENCIES
from dashboard.format import latency
from dashboard.scene import Scene
from dashboard.words import ENGINE_NAMES, odd_gpus, place_of

_STATES = {"down": "is down", "blocked": "may not be read", "stale": "does not answer"}


def troubles(scene: Scene) -> list[str]:
    """Each in a few words, the worst first. GPUs are not among them: they have a sentence of their own."""
    return [*_silent(scene), *_promises(scene)]


def is_anything_odd(scene: Scene) -> bool:
    """Whether it would be wrong to say that nothing is wrong."""
    return odd_gpus(scene) is not None or bool(troubles(scene))


def _silent(scene: Scene) -> Iterator[str]:
    engines = () if scene.tick is None else scene.tick.interval.engines.values()
    told = dict.fromkeys((engine.endpoint, engine.engine, engine.state) for engine in engines if engine.state != "ok")
    for endpoint, kind, state in told:
        name = ENGINE_NAMES.get(kind or "", kind or "engine")
        yield f"{name} {place_of(endpoint)} {_STATES.get(state, state)}"


def _promises(scene: Scene) -> Iterator[str]:
    """The ranks of one page and model keep a promise together."""
    services: dict[tuple[str, str | None], list[EngineKey]] = {}
    for engine in () if scene.tick is None else scene.tick.interval.engines.values():
        services.setdefault((engine.endpoint, engine.model), []).append(engine.key)
    for name, called in LATENCIES:
        slow: list[tuple[float, str]] = []
        limits = set()
        for (endpoint, model), keys in services.items():
            promised, observed = scene.slo.of(model).of(name), scene.observed(keys, name)
            if promised is None or observed is None or promised.met(observed) is not False:
                continue
            slow.append((observed.quantile(promised.quantile) or 0.0, place_of(endpoint)))
            limits.add((promised.name, promised.seconds))
        if slow:
            (quantile, seconds), *others = sorted(limits)
            limit = "" if others else f", promised {latency(seconds).strip()}"
            places = ", ".join(place for _, place in sorted(slow, reverse=True))
            yield f"{called} {quantile} {latency(max(slow)[0]).strip()}{limit} ({places})"
