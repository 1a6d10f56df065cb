"""httpx without its command line and without what only its asynchronous client needs.

`import httpx` takes both along wherever they happen to be installed: click, rich's and pygments' rarer parts, anyio;
90 modules, 3 MB and 50 ms that no page needs.
"""

from __future__ import annotations

import sys
from typing import Any, cast

_SPARED = ("httpx._main", "anyio")
"""httpx and httpcore are prepared for either to be missing."""


def load_httpx() -> None:
    """Imports httpx for its synchronous client; nothing where it is loaded already."""
    if "httpx" in sys.modules:
        return
    modules = cast("dict[str, Any]", sys.modules)
    spared = [name for name in _SPARED if name not in modules]
    for name in spared:
        modules[name] = None  # an import of it now raises ImportError
    try:
        import httpx  # noqa: F401
    finally:
        for name in spared:
            modules.pop(name, None)
