"""The stand-in NVML for tests: built once per process, skipped where there is no compiler."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest

from tests.nvml_stub.build import NoCompiler, Stub, build, state_changing_symbols


@cache
def built(without: tuple[str, ...] = ()) -> Path | None:
    """The library, with traps for all that changes a GPU's state; None without a compiler."""
    directory = Path(tempfile.mkdtemp(prefix="phasetop-nvml-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    try:
        return build(directory, without=without, traps=state_changing_symbols())
    except NoCompiler:
        return None


def stub_or_skip(directory: Path, without: tuple[str, ...] = ()) -> Stub:
    library = built(without)
    if library is None:
        pytest.skip("no C compiler to build the stand-in NVML with")
    return Stub(library, directory)
