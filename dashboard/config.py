"""The configuration: where it comes from, what is wrong with it, and who set what.

Later beats earlier, key by key: defaults, /etc/phasetop/config.toml,
$XDG_CONFIG_HOME/phasetop/config.toml, the file of --config, PHASETOP_* variables, flags.
A file in the working directory is never read: starting `phasetop` in a foreign directory must not
hand that directory's owner the settings.

Everything wrong is reported at once. A problem's line is found by scanning the file for the key,
because tomllib keeps no positions; where the scan finds none, none is claimed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from dashboard.config_schema import (
    KINDS,
    SECTIONS,
    Config,
    Engine,
    Fleet,
    Gpu,
    Log,
    Record,
    Sampling,
    Server,
    Slo,
    Tui,
)

__all__ = [
    "Config", "ConfigError", "Engine", "Flag", "Fleet", "Gpu", "Loaded", "Log", "Origin", "Problem", "Record",
    "Sampling", "Server", "Slo", "Tui", "load", "standard_files",
]  # fmt: skip

ENVIRONMENT_PREFIX = "PHASETOP_"
_SYSTEM_FILE = Path("/etc/phasetop/config.toml")
# Kubernetes gives every container variables such as PHASETOP_SERVER_PORT_80_TCP for a service of that name.
_SERVICE_LINK = re.compile(r"_(?:SERVICE_(?:HOST|PORT)(?:_\w+)?|PORT(?:_\d+_\w+)?)$")


class Origin(NamedTuple):
    """Who set a value: "default", a file with its line, an environment variable, or a flag."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


DEFAULT = Origin("default")


class Problem(NamedTuple):
    """One thing that is wrong: where, at which key (empty: the file as a whole), and why."""

    origin: Origin
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.key}: {self.message}" if self.key else f"{self.origin}: {self.message}"


class ConfigError(Exception):
    """The configuration cannot be used. `problems` holds all that is wrong, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Flag(NamedTuple):
    """A value given on the command line, and the flag that gave it."""

    name: str
    value: Any


class Loaded(NamedTuple):
    """A checked configuration.

    `origins` says for each key path who set it; `files` lists every file that was looked for, with
    None when it was read and the reason when it was not. `entries` are the origins of the entries of
    tables, as far as a file holds them ("tui.keys.view.toggle").
    """

    config: Config
    origins: Mapping[str, Origin]
    files: tuple[tuple[Path, str | None], ...]
    entries: Mapping[str, Origin] = MappingProxyType({})


def standard_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The files read when they exist, the later one winning."""
    home = environment.get("XDG_CONFIG_HOME", "")
    # The XDG specification has relative values ignored.
    user = Path(home) if Path(home).is_absolute() else Path(environment.get("HOME", "~")).expanduser() / ".config"
    return (_SYSTEM_FILE, user / "phasetop" / "config.toml")


def load(
    *,
    environment: Mapping[str, str],
    config_file: Path | None = None,
    flags: Mapping[str, Flag] | None = None,
    files: tuple[Path, ...] | None = None,
) -> Loaded:
    """Read and check everything. `flags` maps key paths to what the command line gave.

    `files` stands in for the standard places. Raises ConfigError with every problem found.
    """
    reader = _Reader()
    for path in standard_files(environment) if files is None else files:
        reader.file(path, required=False)
    if config_file is not None:
        reader.file(config_file, required=True)
    reader.environment(environment)
    for key, flag in (flags or {}).items():
        reader.value(key, flag.value, Origin(flag.name), Path.cwd(), named=False)
    reader.relations()
    if reader.problems:
        raise ConfigError(reader.problems)
    origins = {key: reader.origins.get(key, DEFAULT) for key in KINDS}
    return Loaded(reader.config(), origins, tuple(reader.files), reader.entries)


class _Reader:
    """Collects values, who set them, and what is wrong with them."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, Origin] = {}
        self.entries: dict[str, Origin] = {}
        self.problems: list[Problem] = []
        self.files: list[tuple[Path, str | None]] = []

    def file(self, path: Path, *, required: bool) -> None:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            reason = error.strerror or str(error)
            self.files.append((path, reason))
            if required:
                self.problems.append(Problem(Origin(str(path)), "", f"cannot be read: {reason}"))
            return
        except UnicodeDecodeError as error:
            self.files.append((path, "not UTF-8"))
            self.problems.append(Problem(Origin(str(path)), "", f"is not UTF-8 text (byte {error.start})"))
            return
        self.files.append((path, None))
        import tomllib  # most machines have no file

        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            where = re.search(r"\(at line (\d+), column \d+\)", str(error))
            origin = Origin(str(path), int(where[1]) if where else None)
            self.problems.append(Problem(origin, "", f"is not TOML: {error}"))
            return
        lines = _key_lines(text)
        self.entries |= {".".join(key): Origin(str(path), line) for key, line in lines.items() if len(key) > 2}
        for section, table in document.items():
            self._section(path, lines, section, table)

    def _section(self, path: Path, lines: Mapping[tuple[str, ...], int], section: str, table: Any) -> None:
        def origin(*key: str) -> Origin:
            return Origin(str(path), lines.get(key, lines.get(key[:1])))

        if section not in SECTIONS:
            self.problems.append(Problem(origin(section), section, _unknown_section(section, table)))
        elif not isinstance(table, dict):
            self.problems.append(Problem(origin(section), section, f"must be a section: write [{section}]"))
        else:
            for key, raw in table.items():
                self.value(f"{section}.{key}", raw, origin(section, key), path.absolute().parent)

    def environment(self, environment: Mapping[str, str]) -> None:
        names = {f"{ENVIRONMENT_PREFIX}{key.replace('.', '_').upper()}": key for key in KINDS}
        sections = tuple(f"{ENVIRONMENT_PREFIX}{section.upper()}_" for section in SECTIONS)
        for name, text in environment.items():
            key = names.get(name)
            if key is not None:
                try:
                    raw = KINDS[key].from_environment(text)
                except ValueError as error:
                    self.problems.append(Problem(Origin(name), "", str(error)))
                    continue
                self.value(key, raw, Origin(name), Path.cwd(), named=False)
            elif name.startswith(sections) and not _SERVICE_LINK.search(name):
                self.problems.append(Problem(Origin(name), "", f"sets no key{_did_you_mean(name, names)}"))

    def value(self, key: str, raw: Any, origin: Origin, base: Path, *, named: bool = True) -> None:
        """Check one value and keep it; `named` adds the key path to a complaint."""
        shown = key if named else ""
        if key not in KINDS:
            self.problems.append(Problem(origin, shown, _unknown_key(key)))
            return
        try:
            self.values[key] = KINDS[key].read(raw, base)
        except ValueError as error:
            self.problems.append(Problem(origin, shown, str(error)))
        self.origins[key] = origin

    def relations(self) -> None:
        """What no single key can tell: keys that need one another."""
        for key, needs in (
            ("server.tls_cert", "server.tls_key"),
            ("server.tls_key", "server.tls_cert"),
            ("server.client_ca", "server.tls_cert"),
        ):
            if self.values.get(key) is not None and self.values.get(needs) is None and needs not in self._failed():
                self.problems.append(Problem(self.origins[key], key, f"needs {needs} as well"))

    def _failed(self) -> set[str]:
        return self.origins.keys() - self.values.keys()

    def config(self) -> Config:
        config = Config()
        for section in SECTIONS:
            changes = {
                key.partition(".")[2]: value for key, value in self.values.items() if key.startswith(f"{section}.")
            }
            config = replace(config, **{section: replace(getattr(config, section), **changes)})
        return config


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    import difflib  # only when something is wrong

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _unknown_section(section: str, table: Any) -> str:
    if isinstance(table, dict):
        close = _did_you_mean(section, SECTIONS)
        return f"there is no section [{section}]{close or '; there are ' + ', '.join(SECTIONS)}"
    return f"stands outside any section{_elsewhere(section)}"


def _unknown_key(path: str) -> str:
    section, _, key = path.partition(".")
    siblings = [name.partition(".")[2] for name in KINDS if name.startswith(f"{section}.")]
    return f"there is no such key{_elsewhere(key) or _did_you_mean(key, siblings)}"


def _elsewhere(key: str) -> str:
    homes = [path.partition(".")[0] for path in KINDS if path.partition(".")[2] == key]
    return f"; {key} belongs in [{homes[0]}]" if homes else ""


_HEADER = re.compile(r"\s*(\[[^\[\]]+\]|\[\[[^\[\]]+\]\])\s*(?:#.*)?")
_ASSIGNMENT = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def _key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Line of every section header and of the first mention of each key, by key path."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.fullmatch(line):
            path = table = _key_path(header[1].strip("[]"))
        elif assignment := _ASSIGNMENT.match(line):
            path = table + _key_path(assignment[1])
        else:
            continue
        for length in range(1, len(path) + 1):
            lines.setdefault(path[:length], number)
    return lines


def _key_path(dotted: str) -> tuple[str, ...]:
    """The parts of a dotted TOML key, which may be quoted."""
    import tomllib

    try:
        node: Any = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    path: list[str] = []
    while isinstance(node, dict):
        ((key, node),) = node.items()
        path.append(key)
    return tuple(path)
