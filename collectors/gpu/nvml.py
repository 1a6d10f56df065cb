"""The one way to ask NVML: a funnel that knows what each error code means.

`pynvml` (distribution `nvidia-ml-py`) is imported on first use and only in the reader's own
process. Every call about a GPU goes through that GPU's `Funnel`, which remembers what this GPU
will never answer, waits before asking again for what is forbidden, lets passing trouble pass, and
turns the rest into one of two exceptions: the GPU is lost, or NVML as a whole is gone.

Only calls that read are made, and never `nvmlDeviceGetPcieThroughput`, which blocks 20 ms per
direction. This module runs in the child and imports as little as it can.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from types import ModuleType

from collectors.gpu.codes import (
    DENIED,
    FUNCTION_NOT_FOUND,
    GONE,
    INVALID_ARGUMENT,
    LIBRARY,
    LIBRARY_NOT_FOUND,
    LOST,
    NEVER,
    PASSING,
    UNKNOWN,
    gone_reason,
)

TYPE_CHECKING = False  # the module typing would cost the child half a megabyte
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Clock = Callable[[], float]

_DENIED_SECONDS = 10.0
"""Until something forbidden is asked for again: somebody may have allowed it."""
_BLAME_SECONDS = 60.0
_UNKNOWN_LIMIT = 3
_PASSING_LIMIT = 5
"""Refusals in a row after which trouble that should pass has not."""


class NvmlGone(Exception):
    """NVML as a whole does not work (here, or any more). `code` is NVML's, or 0."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class GpuLost(Exception):
    """One GPU does not answer any more; its handle must not be used again. `code` is NVML's."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def gone(code: int) -> NvmlGone:
    """The exception for an error that is NVML's as a whole, whatever its code."""
    return NvmlGone(gone_reason(code), code)


def load(library: str | None = None) -> Any:
    """`pynvml`, initialised. Raises NvmlGone with the reason, in one line.

    `library` names the file to use when it is not where the dynamic loader looks. pynvml asks the loader for
    libnvidia-ml.so.1 and nothing else, so what is loaded here is given to it.
    """
    try:
        loaded = ctypes.CDLL(library or LIBRARY)
    except OSError as error:
        reason = f"{LIBRARY} not found" if library is None else f"cannot load {library}: {error}"
        raise NvmlGone(reason, LIBRARY_NOT_FOUND) from error
    nvml = _binding()
    if getattr(nvml.nvmlLib, "_name", None) != loaded._name:
        nvml.nvmlLib = loaded
        nvml._nvmlGetFunctionPointer_cache.clear()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise gone(error.value) from error
    return nvml


def _binding() -> Any:
    with _library_search_spared():
        try:
            import pynvml
        except ImportError as error:
            raise NvmlGone("the Python package nvidia-ml-py is not installed") from error
    if not callable(getattr(pynvml, "nvmlInitWithFlags", None)) or not hasattr(pynvml, "c_nvmlGpmMetricsGet_t"):
        raise NvmlGone(
            "the module pynvml is not NVIDIA's or too old: pip install --force-reinstall 'nvidia-ml-py>=12.535.108'"
        )
    return pynvml


@contextlib.contextmanager
def _library_search_spared() -> Iterator[None]:
    """Stand in for `ctypes.util` while pynvml is imported.

    pynvml imports `find_library` and does not call it on Linux; the real module brings in
    subprocess, shutil, lzma, bz2, tempfile and random, 2 MB of the child's 13.
    """
    if "ctypes.util" in sys.modules:
        yield
        return

    def find_library(name: str) -> str | None:
        import ctypes.util

        return ctypes.util.find_library(name)

    stand_in = ModuleType("ctypes.util")
    stand_in.__dict__["find_library"] = find_library
    sys.modules["ctypes.util"] = stand_in
    try:
        yield
    finally:
        del sys.modules["ctypes.util"]


class Funnel:
    """Asks NVML about one GPU and remembers what came of it.

    `beat` is called after every call, so that a slow driver can be told from a hung one.
    """

    def __init__(self, nvml: Any, clock: Clock, beat: Callable[[], None]) -> None:
        self.nvml = nvml
        self.clock = clock
        self.codes: dict[str, int] = {}
        """The code of the last refusal, by what was asked."""
        self.handle_is_suspect = False
        """NVML called an argument invalid that was valid before: the handle is to be fetched anew."""
        self._beat = beat
        self._never: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._in_a_row: dict[str, int] = {}
        self._blamed: dict[str, float] = {}
        self._unknown_in_a_row = 0

    def usable(self, what: str) -> bool:
        """Whether asking for `what` makes sense now."""
        return what not in self._never and self.clock() >= self._not_before.get(what, 0.0)

    def forget(self) -> None:
        """Ask everything again: the GPU is in another mode now."""
        self._never.clear()
        self._not_before.clear()
        self._blamed.clear()

    def ask(self, function: str, *arguments: Any) -> Any:
        """What pynvml's `function` returns, or None when this GPU does not give it (now or ever).

        Raises GpuLost or NvmlGone.
        """
        call = getattr(self.nvml, function, None)
        if call is None:  # an older pynvml
            self._never.add(function)
            return None
        return self.ask_by(function, call, *arguments)

    def ask_by(self, what: str, call: Callable[..., Any], *arguments: Any) -> Any:
        """The same for any callable that raises NVMLError; `what` is the name to remember it by."""
        if not self.usable(what):
            return None
        try:
            answer = call(*arguments)
        except self.nvml.NVMLError as error:
            self.refused(what, error.value)
            return None
        except Exception as error:
            # pynvml's own complaint about a symbol that the driver's library lacks is no NVMLError. Whatever
            # else it fails with comes of an answer that makes no sense, such as text that is no UTF-8.
            lacks = type(error).__name__ == "NVMLLibraryMismatchError"
            self.codes[what] = FUNCTION_NOT_FOUND if lacks else UNKNOWN
            if lacks:
                self._never.add(what)
            else:
                self._not_before[what] = self.clock() + _DENIED_SECONDS
            return None
        finally:
            self._beat()
        self._unknown_in_a_row = 0
        if self._in_a_row:
            self._in_a_row.pop(what, None)
        return answer

    def answered(self, what: str) -> None:
        """Take note that a value within an answer was given: what troubled it has passed."""
        if self._in_a_row:
            self._in_a_row.pop(what, None)

    def ask_first(self, *alternatives: tuple[str, tuple[Any, ...]]) -> Any:
        """The result of the first function that this GPU's driver has at all.

        An alternative is taken only when what stands before it is not usable, so that a passing
        failure does not switch to a function of slightly different meaning for one tick.
        """
        for function, arguments in alternatives:
            answer = self.ask(function, *arguments)
            if answer is not None or self.usable(function):
                return answer
        return None

    def refused(self, what: str, code: int, *, within_an_answer: bool = False) -> None:
        """Take note of an error code. Raises GpuLost or NvmlGone where it means that.

        `within_an_answer`: the call itself succeeded and this is the code of one value in it.
        """
        self.codes[what] = code
        if code in GONE:
            raise gone(code)
        if code in LOST:
            raise GpuLost(code)
        if code in NEVER:
            self._never.add(what)
        elif code in DENIED:
            self._not_before[what] = self.clock() + _DENIED_SECONDS
        elif code == INVALID_ARGUMENT:
            self._suspect_handle(what)
        elif code in PASSING:
            self._one_more_of(what, _PASSING_LIMIT)
        else:
            self._one_more_of(what, _UNKNOWN_LIMIT)
            if not within_an_answer:
                self._one_more_in_a_row()
            return
        self._unknown_in_a_row = 0

    def _suspect_handle(self, what: str) -> None:
        """First the handle is blamed; if the same question fails again soon with a fresh one, it is the question."""
        now = self.clock()
        if now - self._blamed.get(what, -_BLAME_SECONDS) < _BLAME_SECONDS:
            self._never.add(what)
        else:
            self._blamed[what] = now
            self.handle_is_suspect = True

    def _one_more_in_a_row(self) -> None:
        """`Unknown error` to everything means that the GPU is lost."""
        self._unknown_in_a_row += 1
        if self._unknown_in_a_row >= _UNKNOWN_LIMIT:
            raise GpuLost(UNKNOWN)

    def _one_more_of(self, what: str, limit: int) -> None:
        """One question refused again and again: leave it alone for a while, and let others stand in for it."""
        self._in_a_row[what] = self._in_a_row.get(what, 0) + 1
        if self._in_a_row[what] >= limit:
            self._in_a_row[what] = limit - 1  # once more is enough, until there is an answer
            self._not_before[what] = self.clock() + _DENIED_SECONDS
