"""Costs that outlive a session: read when a labeller is made, written every few minutes and at the end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collectors.model import Tick
    from collectors.phase.calibrate import CostModel
    from collectors.phase.label import Labeller
    from collectors.sources import SourceStatus

_EVERY_SECONDS = 300.0


class LearnedCosts:
    """The state directory's costs, and a sink that puts the labeller's there.

    Nothing here fails a session: `problem` says in one line what cannot be read or written.
    """

    def __init__(self, directory: Path | None, *, clock: Callable[[], float] = time.time) -> None:
        """`directory` None keeps nothing. `clock` gives seconds since 1970."""
        self._directory = directory
        self._clock = clock
        self._labeller: Labeller | None = None
        self._due = clock() + _EVERY_SECONDS
        self._writer: threading.Thread | None = None
        self.problem: str | None = None

    @classmethod
    def of_user(cls) -> LearnedCosts:
        """Of whoever runs this, by the environment."""
        from collectors.learned import state_directory

        return cls(state_directory(os.environ))

    def labeller(self) -> Labeller:
        """The labeller of the session, which begins with what there is. The same one at each call."""
        if self._labeller is None:
            from collectors.phase.label import Labeller

            self._labeller = Labeller(priors=self._load())
        return self._labeller

    def put(self, tick: Tick) -> None:
        """On the sampler's thread, after the labeller has had the tick's interval."""
        if self._labeller is not None and self._clock() >= self._due:
            self._due = self._clock() + _EVERY_SECONDS
            learned = self._labeller.learned()
            if learned and (self._writer is None or not self._writer.is_alive()):
                self._writer = threading.Thread(target=self._save, args=(learned,), name="learned-costs", daemon=True)
                self._writer.start()

    def status(self) -> Sequence[SourceStatus]:
        """A line for what is not well, or none."""
        from collectors.sources import SourceStatus

        return [SourceStatus("calibration", "impaired", self.problem)] if self.problem is not None else []

    def close(self) -> None:
        """Keeps what was learned. For when no more ticks come."""
        if self._writer is not None:
            self._writer.join(2.0)
        if self._labeller is not None and (learned := self._labeller.learned()):
            self._save(learned)

    def _load(self) -> Mapping[str, CostModel]:
        from collectors.learned import FILE_NAME, load

        if self._directory is None:
            return {}
        path = self._directory / FILE_NAME
        try:
            return {name: kept.costs for name, kept in load(path, self._clock()).items()}
        except (OSError, ValueError) as problem:
            reason = problem.strerror or str(problem) if isinstance(problem, OSError) else str(problem)
            self.problem = f"{path} is passed over: {reason}"
            return {}

    def _save(self, learned: Mapping[str, CostModel]) -> None:
        from collectors.learned import FILE_NAME, save

        if self._directory is None:
            return
        path = self._directory / FILE_NAME
        try:
            save(path, learned, self._clock())
        except OSError as problem:
            self.problem = f"{path} cannot be written: {problem.strerror or problem}"
        else:
            self.problem = None
