"""What comes along with httpx."""

from __future__ import annotations

import json
import subprocess
import sys

_PROGRAM = """
import json, sys
from collectors.httpx_alone import load_httpx
load_httpx()
import httpx
loaded = [name for name in ("httpx._main", "click", "rich", "pygments", "anyio") if name in sys.modules]
with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200, text="page"))) as client:
    text = client.get("http://127.0.0.1/metrics").text
try:
    import anyio
    later = "anyio" in sys.modules
except ImportError:
    later = True
print(json.dumps([loaded, text, later]))
"""


def test_httpx_comes_without_its_command_line_and_works_and_others_may_load_what_was_spared() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    loaded, text, later = json.loads(done.stdout)
    assert loaded == []
    assert text == "page"
    assert later
