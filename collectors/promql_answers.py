"""What a Prometheus' answers say: from bytes to documents, numbers and clean labels, and to problems."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

from collectors.engine.scrape_problems import Settings, in_front
from collectors.text import clean, masked

SETTINGS = Settings("see [fleet] in config.toml", "fleet.ca_file")
_LABEL_LIMIT = 200
_MOST_TEXTS = 50_000
_REASON_LIMIT = 200
_WARNINGS_KEPT = 4

ProblemKind = Literal["down", "blocked", "late", "busy", "answer", "query"]


class PromProblem(Exception):
    """No answer. The message is one clean line.

    `kind` is "down" where nobody answers, "blocked" where credentials or certificates are refused,
    "late" after the time allowed, "busy" where the server asks to be left alone for `wait` seconds,
    "answer" for what is no answer of this API, and "query" where the server refuses the query itself.
    """

    def __init__(self, kind: ProblemKind, reason: str, *, wait: float = 0.0) -> None:
        super().__init__(masked(reason, _REASON_LIMIT))
        self.kind = kind
        self.reason = str(self)
        self.wait = wait


class Cleaned(dict[str, str]):
    """Clean texts by what came: a thousand nodes say the same few hundred words in every answer."""

    def __missing__(self, text: str) -> str:
        if len(self) >= _MOST_TEXTS:
            self.clear()
        found = self[text] = clean(str(text), _LABEL_LIMIT)
        return found


def document(body: bytes, status: int, headers: Mapping[str, str], *, given: bool) -> dict[str, Any]:
    """A successful answer of the API. Raises PromProblem with what else it is."""
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        what = "refuses what it is given as credentials" if given else f"asks for credentials: {SETTINGS.credentials}"
        raise PromProblem("blocked", f"{what} ({status})")
    if 300 <= status < 400:
        raise PromProblem("blocked", f"redirects ({status}); redirects are not followed: name the server's own address")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise PromProblem("answer", _no_json(body, status, headers)) from None
    if not isinstance(found, dict) or found.get("status") not in ("success", "error"):
        raise PromProblem("answer", f"answers with JSON that is not Prometheus' ({status})")
    if found["status"] == "error":
        kind: ProblemKind = "late" if found.get("errorType") in ("timeout", "canceled") else "query"
        said = clean(str(found.get("error", "")), _REASON_LIMIT)
        raise PromProblem(kind, f"refuses the query ({status}): {said}")
    if status != HTTPStatus.OK:
        raise PromProblem("answer", f"answers with HTTP {status}")
    return found


def _no_json(body: bytes, status: int, headers: Mapping[str, str]) -> str:
    front = in_front(headers)
    by = f" by {front}" if front else ""
    if status == HTTPStatus.NOT_FOUND:
        return f"has no Prometheus API there (404{by}); the address ends where /api/v1 begins"
    start = body[:64].lstrip().lower()
    what = "HTML" if start.startswith(b"<") else "nothing" if not start else "something that is not JSON"
    return f"answers with {what} instead of Prometheus' JSON (HTTP {status}{by})"


def listed(data: Mapping[str, Any], kind: str) -> list[Any]:
    """The series of a result of that kind. Raises PromProblem where it is none."""
    result = data.get("result")
    if data.get("resultType") != kind or not isinstance(result, list):
        raise PromProblem("answer", f"answers with no {kind}")
    return result


def value_of(one: Any) -> float | None:
    """The number of a series at one moment; `number_of` without its moment: a look is tens of thousands of these."""
    try:
        _, text = one["value"]
        value = float(text)
    except (TypeError, ValueError, KeyError, IndexError):
        return None
    return value if math.isfinite(value) else None


def number_of(pair: object) -> tuple[float, float] | None:
    """(seconds, value) of a pair as the API writes it; None where the value is not finite, or nothing of the kind."""
    if not isinstance(pair, list) or len(pair) != 2:
        return None
    try:
        moment, value = float(pair[0]), float(pair[1])
    except (TypeError, ValueError):
        return None
    return (moment, value) if math.isfinite(value) and math.isfinite(moment) else None


def warnings_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    """What the server warns of: parts of the data that are missing, say."""
    told = document.get("warnings")
    lines = [clean(str(line), _REASON_LIMIT) for line in told[:_WARNINGS_KEPT]] if isinstance(told, list) else []
    if document.get("isPartial") is True:  # VictoriaMetrics' cluster
        lines.append("partial data: some storage nodes did not answer")
    return tuple(lines)


def samples_read(data: Mapping[str, Any]) -> int | None:
    """How many samples the server looked at, where it counts them."""
    stats = data.get("stats")
    samples = stats.get("samples") if isinstance(stats, dict) else None
    count = samples.get("totalQueryableSamples") if isinstance(samples, dict) else None
    return count if isinstance(count, int) else None
