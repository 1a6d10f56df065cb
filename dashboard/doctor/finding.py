"""What an examination finds: one line each, with the remedy where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["fine", "note", "limited", "missing"]
"""fine: works; note: worth knowing; limited: works less well than it could; missing: does not work."""

_GLYPHS: Mapping[Level, str] = {"fine": "✓", "note": "·", "limited": "!", "missing": "✗"}
_ASCII_GLYPHS: Mapping[Level, str] = {"fine": "+", "note": ".", "limited": "!", "missing": "x"}
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Finding:
    topic: str
    level: Level
    text: str
    remedy: str | None = None


def lines(findings: Iterable[Finding], *, ascii_only: bool) -> Iterable[str]:
    """One line a finding: level, topic, what, and what to do."""
    glyphs = _ASCII_GLYPHS if ascii_only else _GLYPHS
    for finding in findings:
        remedy = f" -> {finding.remedy}" if finding.remedy else ""
        yield f"{glyphs[finding.level]} {finding.topic:<9} {finding.text}{remedy}"


def document(findings: Iterable[Finding]) -> dict[str, Any]:
    """The same as JSON."""
    return {"schema": SCHEMA, "findings": [asdict(finding) for finding in findings]}
