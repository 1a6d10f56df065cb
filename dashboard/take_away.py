"""What a person takes away from the screen: an interval as JSON, a picture as a file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from collectors.document import document
from collectors.model import Tick
from dashboard.format import NANOSECONDS


def interval_json(tick: Tick) -> str:
    """The interval as `phasetop dump --format jsonl` writes it."""
    return json.dumps(document(tick), ensure_ascii=False, separators=(",", ":"))


def picture_name(screen: str, tick: Tick | None) -> str:
    """Named after what it shows: "phasetop-gpus-20261121T120431Z.svg"."""
    if tick is None:
        return f"phasetop-{screen}.svg"
    moment = datetime.fromtimestamp(tick.interval.end // NANOSECONDS, UTC)
    return f"phasetop-{screen}-{moment:%Y%m%dT%H%M%SZ}.svg"


def save_text(name: str, text: str, directories: Iterable[Path] | None = None) -> str:
    """Writes a new file into the first of the directories that takes it; says in words what became of it.

    They are the working directory, the home directory and the one for temporary files. A file that is
    there already is left alone.
    """
    problem: OSError | None = None
    for directory in (Path.cwd(), Path.home(), Path(tempfile.gettempdir())) if directories is None else directories:
        stem, _, suffix = name.rpartition(".")
        for number in range(1, 100):
            path = directory / (name if number == 1 else f"{stem}-{number}.{suffix}")
            try:
                with path.open("x", encoding="utf-8") as file:
                    file.write(text)
            except FileExistsError:
                continue
            except OSError as error:
                problem = error
                break
            return f"saved {path}"
    return f"not saved: {problem.strerror if problem is not None else 'too many files of that name'}"
