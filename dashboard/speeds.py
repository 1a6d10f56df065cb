"""How fast a recording is played: recorded seconds a second."""

from __future__ import annotations

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


def next_speed(speed: float, direction: int) -> float:
    """The next faster (1) or slower (-1) one; the same where there is none."""
    faster = (one for one in SPEEDS if one > speed)
    slower = (one for one in reversed(SPEEDS) if one < speed)
    return next(faster if direction > 0 else slower, speed)


def checked(speed: float) -> float:
    """A speed that somebody asked for. Raises ValueError with what can be had."""
    if not SPEEDS[0] <= speed <= SPEEDS[-1]:
        raise ValueError(f"{speed:g} is out of range: it must be {SPEEDS[0]:g} to {SPEEDS[-1]:g}")
    return speed
