"""How the NVML reader and its parent talk: length-prefixed JSON objects over pipes.

Four bytes of length, most significant first, then that many bytes of UTF-8 JSON. JSON and not
pickle, because what comes out of a process that runs a driver's library is not to be executed.
This module runs in the child too and imports as little as it can.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False  # the module typing would cost the child half a megabyte
if TYPE_CHECKING:
    from typing import Any

HEADER = 4
LIMIT = 4 << 20
"""Bytes of one payload at most: 16 GPUs with a thousand processes each are a tenth of it."""


class FrameError(ValueError):
    """What arrived is not a frame of this protocol: the other side is broken or another program."""


def encode(message: dict[str, Any]) -> bytes:
    """One frame. Numbers must be finite: a missing value is left out, it is never NaN."""
    payload = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    if len(payload) > LIMIT:
        raise FrameError(f"a frame of {len(payload)} bytes is over the limit of {LIMIT}")
    return len(payload).to_bytes(HEADER, "big") + payload


class Decoder:
    """Puts frames together from whatever pieces a pipe hands out."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that are complete with `data`. Raises FrameError on anything else."""
        self._pending += data
        messages: list[dict[str, Any]] = []
        while len(self._pending) >= HEADER:
            length = int.from_bytes(self._pending[:HEADER], "big")
            if length > LIMIT:
                raise FrameError(f"a frame claims {length} bytes, over the limit of {LIMIT}")
            if len(self._pending) < HEADER + length:
                break
            payload = bytes(self._pending[HEADER : HEADER + length])
            del self._pending[: HEADER + length]
            messages.append(_object(payload))
        return messages


def _object(payload: bytes) -> dict[str, Any]:
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a frame of {len(payload)} bytes is not JSON") from error
    if not isinstance(message, dict):
        raise FrameError("a frame holds something other than a JSON object")
    return message
