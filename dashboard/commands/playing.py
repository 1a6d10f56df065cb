"""What `replay` and `demo` share: a recording on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboard.commands.common import UsageError, moment
from dashboard.commands.screen import run_app

if TYPE_CHECKING:
    from collectors.replay import Recording
    from dashboard.config import Config
    from dashboard.ways import Ways


def speed_of(asked: float | None, otherwise: float) -> float:
    """The speed of --speed. Raises UsageError."""
    from dashboard.speeds import checked

    try:
        return otherwise if asked is None else checked(asked)
    except ValueError as problem:
        raise UsageError(f"--speed: {problem}") from None


def play(
    recording: Recording,
    config: Config,
    chosen: Ways,
    *,
    at: str | None,
    begin: int | None = None,
    speed: float,
    playing: bool,
    relabelled: bool = False,
) -> int:
    """Shows it until it is left; the exit code. `at` is what --at says, and without it `begin` (wall-clock ns)."""
    asked = moment("--at", at, recording)
    from dashboard.app import PhasetopApp
    from dashboard.objectives import slo_book
    from dashboard.replay_feed import ReplayFeed
    from dashboard.scrub import origin

    feed = ReplayFeed(
        recording,
        at=begin if asked is None else asked,
        speed=speed,
        playing=playing,
        origin=origin(recording, relabelled=relabelled),
    )
    app = PhasetopApp(
        feed,
        title_host=feed.host_name,
        ascii=config.tui.ascii,
        zone=feed.zone,
        interval=feed.interval,
        slo=slo_book(config.slo),
        ways=chosen,
    )
    return run_app(app, mouse=config.tui.mouse)
