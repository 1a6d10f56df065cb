"""docs/engines.md against the catalogue. Run as a module it writes the page's tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from collectors.engine.catalog import ENGINES, MOVES, WITHIN_INTERVAL, Alternative, Engine, Row
from collectors.engine.facts import ANSWERS
from collectors.engine.strangers import STRANGERS
from collectors.readings import EngineReading, field_specs

PAGE = Path(__file__).parent.parent / "docs" / "engines.md"
MARK = re.compile(r"<!-- engines: .* -->\n")
_SPECS = {spec.name: spec for spec in field_specs(EngineReading)}
_SHORT = {"request-end": "end", "first-token": "first", "admission": "admitted", "report": "report"}


def described() -> str:
    """Every engine's table, a matrix of engines by fields, what servers tell, and the pages that are no engine's."""
    parts = ["\n## When a series moves\n", *_moves(), "\n## Engines by fields\n", *_matrix()]
    for engine in ENGINES:
        parts += ["", *_engine(engine)]
    parts += ["\n## Beside the page\n", *_beside()]
    parts += ["\n## Pages that are no engine's\n", "| names that begin with | what it is said to be |", "|---|---|"]
    parts += [f"| `{beginning}` | {what} |" for beginning, what in STRANGERS]
    return "\n".join(parts) + "\n"


def _moves() -> Iterator[str]:
    yield from ("| word | meaning |", "|---|---|")
    for word, meaning in MOVES.items():
        yield f"| {_SHORT.get(word, word)} | {meaning} |"


def _matrix() -> Iterator[str]:
    """One row a field: the word of each engine's preferred series, or nothing."""
    rows = {engine.name: {row.field: row for row in engine.rows} for engine in ENGINES}
    yield "| field | " + " | ".join(rows) + " |"
    yield "|---" * (len(rows) + 1) + "|"
    for field in _SPECS:
        if any(field in fields for fields in rows.values()):
            yield f"| `{field}` | " + " | ".join(_word(fields.get(field)) for fields in rows.values()) + " |"


def _word(row: Row | None) -> str:
    if row is None:
        return ""
    words = dict.fromkeys(_SHORT.get(one.moves, one.moves) for one in row.alternatives)
    return ", ".join(words)


def _engine(engine: Engine) -> Iterator[str]:
    prefixes = ", ".join(f"`{prefix}`" if prefix else "none" for prefix in engine.prefixes)
    yield f"## {engine.title} (`{engine.name}`)\n"
    yield f"Prefixes: {prefixes}.\n"
    yield from (f"- {note}" for note in engine.notes)
    yield from ("\n| field | unit | read from, in this order | moves |", "|---|---|---|---|")
    for row in engine.rows:
        unit = _SPECS[row.field].unit
        for position, alternative in enumerate(row.alternatives):
            head = f"`{row.field}` | {unit}" if position == 0 else " | "
            yield f"| {head} | {_source(alternative)} | {_SHORT.get(alternative.moves, alternative.moves)} |"


def _beside() -> Iterator[str]:
    yield "Asked of the engine's own server once for each start, where the page does not tell:\n"
    yield from ("| engine | address | field | from |", "|---|---|---|---|")
    for engine, answers in ANSWERS.items():
        for answer in answers:
            for field, place in answer.fields:
                yield f"| {engine} | `{answer.path}` | `{field}` | `{place}` |"


def _source(alternative: Alternative) -> str:
    factor = "" if alternative.scale == 1.0 else f" × {alternative.scale:g}"
    return f"`{alternative.text}`{factor}"


def written() -> tuple[str, str]:
    text = PAGE.read_text()
    mark = MARK.search(text)
    assert mark is not None
    return text[: mark.end()], text[mark.end() :]


def test_the_page_says_of_every_engine_what_is_read_and_when_it_moves() -> None:
    assert written()[1] == described(), "write it anew: python -m tests.test_engine_docs"


def test_the_page_names_the_fields_that_may_be_late() -> None:
    assert all(f"`{field}`" in written()[0] for field in WITHIN_INTERVAL)


if __name__ == "__main__":
    PAGE.write_text(written()[0] + described())
