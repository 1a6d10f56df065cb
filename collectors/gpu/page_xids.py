"""Which of the driver's error reports (XIDs) are new on an exporter's page.

dcgm-exporter's usual gauge holds the code of the last report, of whatever time: another code than before is a new
report, and the same one again looks like nothing. Where the exporter is set up to count them, the page also has how
many of each code came within its last minutes; a count that grew is that many new reports. One that grew by as many
as left those minutes behind is not seen to have grown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from collectors.engine.page import Series
from collectors.gpu.page_dcgm import XID_COUNTS
from collectors.gpu.page_rows import GpuIdentity

Counts = Mapping[str, Mapping[int, int]]
"""Of each GPU whose reports are counted, by UUID, how many of each code there are."""

_HIGHEST_CODE = 9999
_MOST_AT_ONCE = 16
"""New reports of one code that are told of at once: more says nothing more."""


def counts_of(
    samples: Iterable[tuple[Series, float]], identity: Callable[[Mapping[str, str]], GpuIdentity | None]
) -> Counts:
    """The counts on a page. A GPU without any report has a series of 0 without a code."""
    counts: dict[str, dict[int, int]] = {}
    for series, value in samples:
        if series.name != XID_COUNTS or (whose := identity(series.labels)) is None:
            continue
        of_gpu = counts.setdefault(whose.uuid, {})
        code = series.labels.get("xid", "")
        if code.isascii() and code.isdigit() and 0 < int(code) <= _HIGHEST_CODE and 0 < value < 2.0**31:
            # One GPU may be on the page once for each pod that uses it.
            of_gpu[int(code)] = max(of_gpu.get(int(code), 0), int(value))
    return counts


def new_reports(now: Counts, before: Counts) -> dict[str, str]:
    """By UUID the codes of what is counted now and was not before, comma-separated; only of GPUs counted both times."""
    return {
        uuid: ",".join(
            str(code)
            for code, count in sorted(codes.items())
            for _ in range(min(count - before[uuid].get(code, 0), _MOST_AT_ONCE))
        )
        for uuid, codes in now.items()
        if uuid in before
    }
