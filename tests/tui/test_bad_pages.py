"""A running dashboard over bad pages: every one has its line, the screen stays whole, and quitting takes no time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

from dashboard.app import PhasetopApp
from dashboard.config import Config
from dashboard.session import LiveFeed
from tests.bad_pages import BAD_PAGES
from tests.bad_session import configured
from tests.live_support import serving
from tests.tui.support import text_of

SHOWN = ("empty", "endless", "binary", "HTML", "500", "401", "redirect loop", "gzip bomb", "garbage", "hostile labels")
WIDTH, HEIGHT = 200, 60


def served(stack: ExitStack) -> Mapping[str, str]:
    return {name: stack.enter_context(serving(BAD_PAGES[name].behaviour)).url for name in SHOWN}


async def test_a_dashboard_over_bad_pages_says_of_each_what_it_is_and_stays_whole() -> None:
    with ExitStack() as stack:
        urls = served(stack)
        config = configured(Config(), tuple(urls.values()))
        feed = LiveFeed(replace(config, engine=replace(config.engine, timeout=5.0)))
        app = PhasetopApp(feed, interval=config.sampling.interval)
        async with app.run_test(size=(WIDTH, HEIGHT)) as pilot:
            wanted = [bad.says for name in SHOWN if (bad := BAD_PAGES[name]).says is not None]
            deadline = time.monotonic() + 60
            lines: list[str] = []
            while time.monotonic() < deadline:
                await asyncio.sleep(0.25)
                await pilot.pause()
                lines = text_of(app)
                if all(any(says in line for line in lines) for says in wanted):
                    break
            missing = [says for says in wanted if not any(says in line for line in lines)]
            assert missing == []
            assert len(lines) == HEIGHT
            assert all(line.isprintable() and len(line) == WIDTH for line in lines)
            await pilot.press("3")
            await pilot.pause()
            assert all(line.isprintable() for line in text_of(app))
