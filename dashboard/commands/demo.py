"""`phasetop demo`: the dashboard of a recording that ships with the package."""

from __future__ import annotations

import argparse
import gzip
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dashboard.commands.common import CommandFailed, UsageError, config_argument, configuration
from dashboard.commands.playing import play, speed_of
from dashboard.commands.screen import screen_arguments, terminal_needed, ways

_DIRECTORY = Path(__file__).parents[1] / "demo"
_SPEED = 4.0


@dataclass(frozen=True, slots=True)
class _Demo:
    about: str
    begin: float = 0.0
    """Seconds into the recording at which something begins to happen."""


DEMOS: Mapping[str, _Demo] = {
    "node": _Demo("45 minutes of a simulated node: 8 GPUs, two engines, a chat load; something goes wrong", 900.0),
    "vllm": _Demo("6 minutes of a real vLLM 0.32 on two CPU cores, tiny model, no GPU"),
    "llamacpp": _Demo("6 minutes of a real llama-server on two CPU cores, tiny model, no GPU"),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    known = "; ".join(f"{name}: {demo.about}" for name, demo in DEMOS.items())
    parser.add_argument("name", nargs="?", default="node", metavar="NAME", help=f"{known}. The default is node")
    parser.add_argument("--at", metavar="T", help='where to begin: 06:55, "10m ago" (before its end), ...')
    parser.add_argument(
        "--speed", metavar="N", type=float, default=_SPEED, help=f"recorded seconds a second; {_SPEED:g} otherwise"
    )
    screen_arguments(parser)
    config_argument(parser)


def run(args: argparse.Namespace) -> int:
    loaded = configuration(args)
    if args.name not in DEMOS:
        raise UsageError(f'there is no demo "{args.name}"; there are {", ".join(DEMOS)}')
    speed = speed_of(args.speed, _SPEED)
    terminal_needed("`phasetop once` prints one interval of this machine")
    chosen = ways(loaded)
    with tempfile.TemporaryDirectory(prefix="phasetop-demo-") as directory:
        path = unpacked(args.name, Path(directory))
        from collectors.replay import Recording

        with Recording(path) as recording:
            begin = recording.start + round(DEMOS[args.name].begin * 1e9)
            return play(recording, loaded.config, chosen, at=args.at, begin=begin, speed=speed, playing=True)


def unpacked(name: str, directory: Path) -> Path:
    """The recording of a demo, unpacked into a directory. Raises CommandFailed when that cannot be done."""
    path = directory / f"{name}.db"
    try:
        with gzip.open(_DIRECTORY / f"{name}.db.gz", "rb") as packed, path.open("wb") as file:
            shutil.copyfileobj(packed, file)
    except (OSError, EOFError) as problem:
        raise CommandFailed(f"the demo cannot be unpacked into {directory}: {problem}; see TMPDIR") from None
    return path
