"""From a sample's name on a page to the tables that read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from collectors.engine.catalog.table import Engine, Row
from collectors.readings import EngineReading, field_specs

_HISTOGRAMS = frozenset(spec.name for spec in field_specs(EngineReading) if spec.kind == "histogram")
_REMEMBERED_NAMES = 20_000
"""Names come from outside: what is remembered of them is bounded."""

Places = tuple[tuple[Engine, str], ...]


class Catalog:
    """Finds the tables that read a sample, knowing the prefixes under which forks and agents publish it.

    Some agents drop the `_total` of counters, and some servers never had one.
    """

    def __init__(self, engines: Iterable[Engine]) -> None:
        self._engines = tuple(engines)
        self._names: Mapping[str, frozenset[str]] = {engine.name: sample_names(engine) for engine in self._engines}
        self._known: dict[str, Places] = {}

    def locate(self, sample_name: str) -> Places:
        """Each engine whose table reads this sample, and the name it has there; empty when none does.

        Several when the name has no prefix: then the page tells by its markers whose it is.
        """
        places = self._known.get(sample_name)
        if places is None:
            if len(self._known) >= _REMEMBERED_NAMES:
                self._known.clear()
            places = self._known[sample_name] = tuple(self._places(sample_name))
        return places

    def is_wanted(self, sample_name: str) -> bool:
        """Whether any engine's table reads this sample: what a page reader should keep."""
        return bool(self.locate(sample_name))

    def _places(self, sample_name: str) -> Iterator[tuple[Engine, str]]:
        for engine in self._engines:
            for prefix in engine.prefixes:
                if sample_name.startswith(prefix):
                    name = engine.prefixes[0] + sample_name[len(prefix) :]
                    found = next((one for one in (name, f"{name}_total") if one in self._names[engine.name]), None)
                    if found is not None:
                        yield engine, found
                        break


def sample_names(engine: Engine) -> frozenset[str]:
    """Every sample name an engine's table reads."""
    names = {*engine.also_read, *(selector.name for selector in engine.markers)}
    for row in engine.rows:
        names.update(_row_names(row))
    return frozenset(names)


def _row_names(row: Row) -> Iterator[str]:
    for selector in (selector for alternative in row.alternatives for selector in alternative.selectors):
        if row.field in _HISTOGRAMS:
            yield from (f"{selector.name}{part}" for part in ("_bucket", "_sum", "_count"))
        else:
            yield selector.name
