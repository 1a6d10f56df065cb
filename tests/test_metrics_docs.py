"""docs/metrics.md against the catalogue. Run as a module it writes the page's tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from exporters.exposition import Family
from exporters.families import families

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"
MARK = re.compile(r"<!-- metrics: .* -->\n")
_SECTIONS = (
    ("phasetop_host_", "The machine"),
    ("phasetop_gpu", "GPUs and GPU instances"),
    ("phasetop_engine", "Serving engines"),
    ("phasetop_", "phasetop itself"),
)


def described() -> str:
    """A table for each kind of thing, in the order of the page."""
    listed: dict[str, list[Family]] = {title: [] for _, title in _SECTIONS}
    for family in families():
        title = next(title for lead, title in _SECTIONS if family.name.startswith(lead))
        listed[title].append(family)
    return "".join(f"\n## {title}\n\n" + "\n".join(_table(members)) + "\n" for title, members in listed.items())


def _table(members: list[Family]) -> Iterator[str]:
    yield "Labels: " + _labels(min((family.labels for family in members), key=len)) + ", and those named.\n"
    common = set(min((family.labels for family in members), key=len))
    yield "| metric | kind | what it says |"
    yield "|---|---|---|"
    for family in members:
        more = [label for label in family.labels if label not in common]
        told = family.help.replace("|", "\\|")
        also = f" By {_labels(tuple(more))}." if more else ""
        yield f"| `{family.sample}` | {family.kind} | {told}{also} |"


def _labels(labels: tuple[str, ...]) -> str:
    return ", ".join(f"`{label}`" for label in labels) or "none"


def test_the_page_lists_every_metric_as_the_catalogue_has_it() -> None:
    text = PAGE.read_text(encoding="utf-8")
    mark = MARK.search(text)
    assert mark is not None
    assert text[mark.end() :] == described(), "run python -m tests.test_metrics_docs"


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    found = MARK.search(page)
    assert found is not None
    PAGE.write_text(page[: found.end()] + described(), encoding="utf-8")
