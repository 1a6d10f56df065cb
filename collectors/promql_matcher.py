"""A label's value in a PromQL selector."""

from __future__ import annotations


def matcher(label: str, value: str) -> str:
    """Chooses the series whose label has exactly this value."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{label}="{escaped}"'
