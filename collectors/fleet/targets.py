"""Targets from a file as Prometheus' file_sd reads it: JSON, or the plain YAML that such files are written in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SIZE_LIMIT = 4 << 20


class TargetsProblem(Exception):
    """A file that cannot be used. The message says which line, and what is wrong with it."""


def read_targets(path: Path) -> list[tuple[str, Mapping[str, str]]]:
    """HOST:PORT of each target with its labels, in the file's order.

    As in Prometheus, the labels `__scheme__` and `__metrics_path__` belong to the address (which then
    is a whole one), and others that begin with two underscores are nobody's labels.

    YAML is read as far as file_sd files need it: a list of `targets:` and `labels:`, in block or flow
    style, with or without quotes. Anchors and multi-line texts are refused by name of their line.

    Raises:
        TargetsProblem: it is no file_sd file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        raw = file.read(_SIZE_LIMIT + 1)
    if len(raw) > _SIZE_LIMIT:
        raise TargetsProblem(f"{path}: larger than {_SIZE_LIMIT >> 20} MiB")
    text = raw.decode("utf-8", "replace")
    if path.suffix == ".json" or text.lstrip().startswith(("[", "{")):
        try:
            groups = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise TargetsProblem(f"{path}: is not JSON: {error}") from None
    else:
        groups = _yaml(text, path)
    return _checked(groups, path)


def _checked(groups: Any, path: Path) -> list[tuple[str, Mapping[str, str]]]:
    if not isinstance(groups, list):
        raise TargetsProblem(f"{path}: must be a list of groups, each with targets")
    found: list[tuple[str, Mapping[str, str]]] = []
    for number, group in enumerate(groups, start=1):
        targets = group.get("targets") if isinstance(group, dict) else None
        if not isinstance(targets, list) or not all(isinstance(one, str) for one in targets):
            raise TargetsProblem(f"{path}: group {number} has no list of targets")
        labels = group.get("labels") or {}
        if not isinstance(labels, dict):
            raise TargetsProblem(f"{path}: the labels of group {number} are no table")
        told = {str(name): str(value) for name, value in labels.items()}
        shown = {name: value for name, value in told.items() if not name.startswith("__")}
        found += [(_address(one, told), shown) for one in targets]
    return found


def _address(target: str, labels: Mapping[str, str]) -> str:
    scheme, path = labels.get("__scheme__", ""), labels.get("__metrics_path__", "")
    if "://" in target or not (scheme or path):
        return target
    return f"{scheme or 'http'}://{target}/{path.lstrip('/')}"


_GROUP = re.compile(r"-\s+(.*)")
_ENTRY = re.compile(r"""(?:"([^"]*)"|'([^']*)'|([^\s:#'"\[\]{},&*!|>%@`][^:#]*?))\s*:(?:\s+(.*))?""")


def _yaml(text: str, path: Path) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = []
    section, group_indent = "", 0
    for number, raw in enumerate(text.splitlines(), start=1):
        line = _without_comment(raw)
        if not line.strip() or line.strip() in ("---", "..."):
            continue
        indent, rest = len(line) - len(line.lstrip()), line.strip()
        where = f"{path}, line {number}"
        item = _GROUP.fullmatch(rest) or (re.fullmatch(r"-()", rest))
        if item and (not groups or indent <= group_indent):
            groups.append({})
            group_indent, section, rest = indent, "", item[1]
            if not rest:
                continue
        elif item and section == "targets":
            groups[-1]["targets"].append(_scalar(item[1], where))
            continue
        if not groups:
            raise TargetsProblem(f"{where}: must be a list of groups: - targets: [HOST:PORT]")
        section = _entry(rest, section, groups[-1], where)
    return groups


def _entry(rest: str, section: str, group: dict[str, Any], where: str) -> str:
    """Takes in a `name: value`; the section that following lines belong to."""
    found = _ENTRY.fullmatch(rest)
    if found is None:
        raise TargetsProblem(f"{where}: is not understood; write the file as JSON if it must be so")
    name, value = next(one for one in found.groups()[:3] if one is not None), (found[4] or "").strip()
    if name in ("targets", "labels"):
        group[name] = _flow(value, where) if value else [] if name == "targets" else {}
        return name
    if section == "labels" and isinstance(group.get("labels"), dict):
        group["labels"][name] = _scalar(value, where)
        return section
    raise TargetsProblem(f"{where}: {name} stands neither under targets nor under labels")


def _flow(value: str, where: str) -> Any:
    """`[a, b]` or `{a: b}` on one line."""
    if value[:1] == "[" and value[-1:] == "]":
        return [_scalar(one, where) for one in _parts(value[1:-1])]
    if value[:1] == "{" and value[-1:] == "}":
        pairs = [_ENTRY.fullmatch(one) for one in _parts(value[1:-1])]
        if all(pair is not None for pair in pairs):
            return {
                next(one for one in pair.groups()[:3] if one is not None): _scalar((pair[4] or "").strip(), where)
                for pair in pairs if pair is not None
            }  # fmt: skip
    raise TargetsProblem(f"{where}: a list or a table on one line does not end there")


def _parts(inside: str) -> list[str]:
    return [one.strip() for one in re.findall(r"""(?:"[^"]*"|'[^']*'|[^,"'])+""", inside) if one.strip()]


def _scalar(text: str, where: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    if text[:1] in ("&", "*", "|", ">", "!", "[", "{"):
        raise TargetsProblem(f"{where}: {text[:1]} is not read; write the file as JSON if it must be so")
    return text


def _without_comment(line: str) -> str:
    if line.lstrip().startswith("#"):
        return ""
    found = re.match(r"""((?:"[^"]*"|'[^']*'|[^#"']|(?<!\s)#)*)""", line)
    return found[1].rstrip() if found is not None else line
