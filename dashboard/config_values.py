"""What a configured value may look like: one small class per kind of value.

A kind turns what a file, the environment or a flag says into the value the program uses, says in
words what it accepts, and writes a value back the way a file would hold it. It raises ValueError
with the reason and nothing else; who asked (which file, which line, which flag) is added by
`dashboard.config`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dashboard.notation import (
    Address,
    format_duration,
    format_size,
    parse_address,
    parse_duration,
    parse_size,
    toml_text,
    without_userinfo,
)


def text_of(raw: object) -> str:
    """A text as it is. Raises ValueError for anything else."""
    if not isinstance(raw, str):
        raise ValueError(f"must be a text in quotes, not {shown(raw)}")
    return raw


def shown(raw: object) -> str:
    """What was written, for a message."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, list):
        return "a list"
    return f'"{without_userinfo(raw)}"' if isinstance(raw, str) else str(raw)


class Kind:
    """One kind of value. `allowed` says in words what is accepted."""

    allowed: str

    def read(self, raw: Any, base: Path) -> Any:
        """The value of `raw` as TOML gives it; relative paths are taken from `base`."""
        raise NotImplementedError

    def from_environment(self, text: str) -> Any:
        """What TOML would have given for `text`, which stands in an environment variable."""
        return text

    def toml(self, value: Any) -> str:
        """`value` the way a configuration file would hold it."""
        return toml_text(str(value))


class Flag(Kind):
    allowed = "true or false"

    def read(self, raw: Any, base: Path) -> bool:
        if not isinstance(raw, bool):
            raise ValueError(f"must be true or false, not {shown(raw)}")
        return raw

    def from_environment(self, text: str) -> Any:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower(), text)

    def toml(self, value: Any) -> str:
        return "true" if value else "false"


class OneOf(Kind):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.allowed = " or ".join(f'"{word}"' for word in words)

    def read(self, raw: Any, base: Path) -> str:
        if raw not in self.words:
            raise ValueError(f"must be {self.allowed}, not {shown(raw)}")
        return str(raw)


class _Range(Kind):
    """A number between two bounds, both included; the subclasses say how it is written."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self.allowed = f"{self.written(minimum)} to {self.written(maximum)}"

    def written(self, value: Any) -> str:
        raise NotImplementedError

    def within(self, value: float, raw: Any) -> Any:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{shown(raw)} is out of range: it must be {self.allowed}")
        return value

    def toml(self, value: Any) -> str:
        return toml_text(self.written(value))


class Whole(_Range):
    def written(self, value: Any) -> str:
        return str(value)

    def read(self, raw: Any, base: Path) -> Any:
        if not isinstance(raw, int) or isinstance(raw, bool):
            raise ValueError(f"must be a whole number, not {shown(raw)}")
        return self.within(raw, raw)

    def from_environment(self, text: str) -> Any:
        return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text

    def toml(self, value: Any) -> str:
        return str(value)


class Duration(_Range):
    """Held as seconds."""

    def written(self, value: Any) -> str:
        return format_duration(value)

    def read(self, raw: Any, base: Path) -> Any:
        if isinstance(raw, int | float) and not isinstance(raw, bool):
            raise ValueError(f'{raw} has no unit: write "{raw}s" for seconds, or another of ms, m, h, d')
        return self.within(parse_duration(text_of(raw)), raw)


class Limit(Duration):
    """Held as seconds, or None where there is no limit."""

    def __init__(self, minimum: float, maximum: float) -> None:
        super().__init__(minimum, maximum)
        self.allowed = f'{self.allowed}, or "" for none'

    def read(self, raw: Any, base: Path) -> Any:
        return None if raw == "" else super().read(raw, base)

    def toml(self, value: Any) -> str:
        return '""' if value is None else super().toml(value)


class _Decimal(_Range):
    """A number that need not be whole."""

    def written(self, value: Any) -> str:
        return f"{value:g}"

    def from_environment(self, text: str) -> Any:
        try:
            return float(text)
        except ValueError:
            return text


class Quantile(_Decimal):
    """Held as a share of 1."""

    def read(self, raw: Any, base: Path) -> float:
        if not isinstance(raw, int | float) or isinstance(raw, bool):
            raise ValueError(f"must be a number such as 0.99, not {shown(raw)}")
        return float(self.within(raw, raw))

    def toml(self, value: Any) -> str:
        return repr(value)


class Number(_Decimal):
    """A plain number of a unit that the key's explanation names."""

    def read(self, raw: Any, base: Path) -> float:
        if not isinstance(raw, int | float) or isinstance(raw, bool):
            raise ValueError(f"must be a number such as {self.written(self.minimum or 1)}, not {shown(raw)}")
        return float(self.within(raw, raw))

    def toml(self, value: Any) -> str:
        return f"{value:.12g}"


class Currency(Kind):
    """Held as three capital letters or a short sign."""

    allowed = "a currency's code or sign, of 1 to 4 characters"

    def read(self, raw: Any, base: Path) -> str:
        text = text_of(raw)
        if not 1 <= len(text) <= 4 or not text.isprintable() or any(one.isspace() or one.isdigit() for one in text):
            raise ValueError(f"{shown(raw)} is no currency: write {self.allowed}, such as USD or €")
        return text


class Size(_Range):
    """Held as bytes."""

    def written(self, value: Any) -> str:
        return format_size(value)

    def read(self, raw: Any, base: Path) -> Any:
        if isinstance(raw, int | float) and not isinstance(raw, bool):
            raise ValueError(f'{raw} has no unit: write a size such as "500MB" or "8GiB"')
        return self.within(parse_size(text_of(raw)), raw)


class FilePath(Kind):
    """A file or a directory; the empty text is None. Existence is not checked here."""

    allowed = 'a path, or "" for none'

    def read(self, raw: Any, base: Path) -> Path | None:
        text = text_of(raw)
        return base / Path(text).expanduser() if text else None

    def toml(self, value: Any) -> str:
        return toml_text("" if value is None else str(value))


class ListenAddress(Kind):
    allowed = "ADDR:PORT"

    def read(self, raw: Any, base: Path) -> Address:
        return parse_address(text_of(raw))


class Names(Kind):
    """Held as a tuple of host names, without repeats."""

    allowed = "a list of host names"

    def read(self, raw: Any, base: Path) -> tuple[str, ...]:
        if not isinstance(raw, list):
            raise ValueError(f"must be {self.allowed}, not {shown(raw)}")
        return tuple(dict.fromkeys(self.entry(text_of(entry)) for entry in raw))

    def entry(self, text: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", text):
            raise ValueError(f'"{text}" is not a host name')
        return text

    def from_environment(self, text: str) -> Any:
        return [entry.strip() for entry in text.split(",") if entry.strip()]

    def toml(self, value: Any) -> str:
        return f"[{', '.join(toml_text(entry) for entry in value)}]"


class LabelMatch(Kind):
    """The inside of a PromQL selector."""

    allowed = 'label matchers such as job="phasetop"'

    def read(self, raw: Any, base: Path) -> str:
        text = text_of(raw).strip()
        if not text or "{" in text or "}" in text:
            raise ValueError(f"must be {self.allowed}, without braces, not {shown(raw)}")
        return text


class LabelNames(Names):
    """Held as a tuple of one label name or more."""

    allowed = "a list of label names"

    def read(self, raw: Any, base: Path) -> tuple[str, ...]:
        found = super().read(raw, base)
        if not found:
            raise ValueError("must name one label at least, such as instance")
        return found

    def entry(self, text: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
            raise ValueError(f'"{text}" is not a label name')
        return text


class Price(Kind):
    """Held as money per unit, or None where it is not known."""

    allowed = 'a number from 0 up, or "" where it is not known'

    def read(self, raw: Any, base: Path) -> float | None:
        if raw == "":
            return None
        if isinstance(raw, str):
            try:
                raw = float(raw)
            except ValueError:
                raise ValueError(f"must be {self.allowed}, not {shown(raw)}") from None
        if not isinstance(raw, int | float) or isinstance(raw, bool) or not 0 <= raw < 1e9:
            raise ValueError(f"must be {self.allowed}, not {shown(raw)}")
        return float(raw)

    def toml(self, value: Any) -> str:
        return '""' if value is None else repr(value)
