"""The only door for foreign text: names, labels, command lines and error messages.

Model names, process names and error texts come from outside. They are cleaned once, here, when
they are read; nothing further on has to distrust them again.
"""

from __future__ import annotations

import re

REPLACEMENT = "\ufffd"
ELLIPSIS = "…"

# `--api-key X`, `--api-key=X`, `HF_TOKEN=X`, `Bearer X`, `https://user:pass@host`
_SECRET_NAME = r"[\w-]*(?:api[-_]?keys?|token|secrets?|passwords?|passwd|auth(?:orization)?|credentials?)"
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s'\"]+"), r"\1=***"),
    (re.compile(rf"(?i)((?:--?|\b){_SECRET_NAME}(?:\s*[=:]\s*|\s+))(\"[^\"]*\"|'[^']*'|\S+)"), r"\1***"),
    (re.compile(r"(\w+://)[^/\s@]+@"), r"\1***@"),
)


def clean(text: str | bytes, limit: int = 120) -> str:
    """One printable line of at most `limit` characters.

    Control characters, terminal escapes, line breaks, bidirectional overrides and zero-width
    characters become U+FFFD; bytes that are not UTF-8 likewise. Longer text ends in an ellipsis.
    """
    if isinstance(text, bytes):
        text = text[: limit * 4].decode("utf-8", "replace")
    if len(text) > limit:
        text = text[: limit - 1] + ELLIPSIS
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else REPLACEMENT for c in text)


def masked(text: str | bytes, limit: int = 400) -> str:
    """`clean`, with the values of keys, tokens and passwords replaced by `***`."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text[: limit * 8])
    return clean(text, limit)
