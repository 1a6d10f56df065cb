"""httpx without its command line.

`import httpx` takes its command line along wherever click happens to be installed, and with it rich's and
pygments' rarer parts: 90 modules, 3 MB and 50 ms that no page needs.
"""

from __future__ import annotations

import sys
from typing import Any, cast

_COMMAND_LINE = "httpx._main"


def load_httpx() -> None:
    """Imports httpx as it is where its extra `cli` is not installed; nothing where it is loaded already."""
    if "httpx" in sys.modules:
        return
    modules = cast("dict[str, Any]", sys.modules)
    modules[_COMMAND_LINE] = None  # from now on an import of it raises ImportError, which httpx is prepared for
    try:
        import httpx  # noqa: F401
    finally:
        modules.pop(_COMMAND_LINE, None)
