"""The driver's own error reports (XIDs), as they happen. Runs in the child, on a thread of its own.

NVML hands them out one by one to whoever waits. The wait blocks in the driver, so it has a thread;
GPUs are registered on that thread too, between two waits. What happened before a GPU was registered
is not told.
"""

from __future__ import annotations

import ctypes
import threading
import time

TYPE_CHECKING = False  # the module typing would cost the child half a megabyte
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_XID = 0x8  # nvmlEventTypeXidCriticalError
_TIMED_OUT = 10
_WAIT_MILLISECONDS = 2000
_PAUSE_SECONDS = 5.0
"""After a wait that failed: a GPU that is lost makes it fail at once, again and again."""
_NOTHING_SECONDS = 0.1
_KEPT = 256
_HIGHEST_XID = 10_000


class XidWatch:
    """`add` and `take` are for the reader's thread. A library that knows no events gives none."""

    def __init__(
        self, nvml: Any, *, sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._nvml = nvml
        self._sleep = sleep
        self._clock = clock
        self._lock = threading.Lock()
        self._new: list[tuple[str, Any]] = []
        self._uuids: dict[int, str] = {}
        self._seen: list[tuple[str, int]] = []
        self._set: Any = None

    def start(self) -> None:
        threading.Thread(target=self._run, name="xid", daemon=True).start()

    def add(self, uuid: str, handle: Any) -> None:
        """Watch this GPU from now on, also when it has been watched before."""
        with self._lock:
            self._new.append((uuid, handle))

    def take(self) -> list[tuple[str, int]]:
        """(UUID, XID) of each report since the last call, oldest first."""
        with self._lock:
            seen, self._seen = self._seen, []
        return seen

    def _run(self) -> None:
        try:
            self._set = self._nvml.nvmlEventSetCreate()
            while True:
                self._register()
                self._wait()
        except Exception:  # an old library without these calls, or a binding without them: there are no reports then
            return

    def _register(self) -> None:
        with self._lock:
            new, self._new = self._new, []
        for uuid, handle in new:
            try:
                self._nvml.nvmlDeviceRegisterEvents(handle, _XID, self._set)
            except self._nvml.NVMLError:
                continue  # this GPU (or this user) gets no reports; the others do
            self._uuids[_address(handle)] = uuid

    def _wait(self) -> None:
        if not self._uuids:  # some drivers answer a wait for nothing at once
            self._sleep(_WAIT_MILLISECONDS / 1000)
            return
        begun = self._clock()
        try:
            event = self._nvml.nvmlEventSetWait_v2(self._set, _WAIT_MILLISECONDS)
        except self._nvml.NVMLError as error:
            if error.value != _TIMED_OUT:
                self._sleep(_PAUSE_SECONDS)
            elif self._clock() - begun < _WAIT_MILLISECONDS / 2000:
                self._sleep(_WAIT_MILLISECONDS / 1000)  # it did not wait, so that has to be done here
            return
        uuid = self._uuids.get(_address(event.device))
        if event.eventType == _XID and uuid is not None and 0 < event.eventData < _HIGHEST_XID:
            with self._lock:
                self._seen = [*self._seen[1 - _KEPT :], (uuid, int(event.eventData))]
        elif self._clock() - begun < _NOTHING_SECONDS:
            self._sleep(_NOTHING_SECONDS)  # reports that are none come as fast as they are asked for


def _address(handle: Any) -> int:
    """By which a device's handle and that in an event are the same one."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
