"""TensorRT-LLM's iteration statistics, as totals beside its metrics page.

Its server keeps one record of each step and hands them out as JSON at `/metrics`, which empties
its store: whoever else reads them finds what we left. So they are read only where the configuration
says so. They are what makes phases of TensorRT-LLM measurable: its Prometheus page counts nothing
as it is done.

A step may compute prompts and generate for others at once. Of such a step, decode is given the time
of the latest steps that only generated, and prefill the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from collectors.engine.scrape import Fetcher, PageProblem

_RECORDS_LIMIT = 100_000
"""Steps of one answer that are looked at; the server keeps 1,000 unless told otherwise."""
_ANSWER_SECONDS = 30.0
"""A server that drips its records in is given up after this."""
_MEMORY = 0.1
"""Weight of the newest step that only generated, in the mean of the latest ones."""


@dataclass(slots=True)
class IterationTotals:
    """Steps and their seconds since we began to read, and prompt tokens computed in them."""

    context_steps: int = 0
    generation_steps: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    context_tokens: float = 0.0
    _generation_step: float | None = None

    def add(self, records: Any) -> None:
        """Count the steps of one answer; whatever is no record of a step is passed over."""
        for record in records[:_RECORDS_LIMIT] if isinstance(records, list) else ():
            batch = record.get("inflightBatchingStats") if isinstance(record, dict) else None
            if isinstance(batch, dict):
                seconds = _number(record, "iterLatencyMS") / 1e3
                self._step(seconds, _number(batch, "numContextRequests"), _number(batch, "numGenRequests"))
                self.context_tokens += _number(batch, "numCtxTokens")

    def _step(self, seconds: float, prompts: float, generating: float) -> None:
        if prompts:
            decode = min(seconds, self._generation_step or 0.0) if generating else 0.0
            self.context_steps += 1
            self.decode_seconds += decode
            self.prefill_seconds += seconds - decode
        elif generating:
            before = seconds if self._generation_step is None else self._generation_step
            self._generation_step = before + _MEMORY * (seconds - before)
            self.generation_steps += 1
            self.decode_seconds += seconds

    def page(self) -> str:
        """The totals in the form of a metrics page."""
        return (
            f'trtllm_iterations_total{{kind="context"}} {self.context_steps}\n'
            f'trtllm_iterations_total{{kind="generation"}} {self.generation_steps}\n'
            f'trtllm_iteration_seconds_total{{kind="context"}} {self.prefill_seconds!r}\n'
            f'trtllm_iteration_seconds_total{{kind="generation"}} {self.decode_seconds!r}\n'
            f"trtllm_iteration_context_tokens_total {self.context_tokens!r}\n"
        )


class IterationStats:
    """Reads the records of one server."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._totals = IterationTotals()

    def page(self) -> str:
        """Lines to add to the server's metrics page; none when the records could not be read. Blocks."""
        try:
            with self._fetcher.within(_ANSWER_SECONDS):
                self._totals.add(self._fetcher.fetch_json())
        except PageProblem:
            # The lines come back counting from 0, as a page's series do that first appear: the server
            # has kept the steps meanwhile, and they are counted then.
            self._totals = IterationTotals()
            return ""
        return self._totals.page()

    def close(self) -> None:
        self._fetcher.close()


def _number(record: Mapping[str, Any], name: str) -> float:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0.0
    return max(0.0, float(value))
