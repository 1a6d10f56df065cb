"""How each metrics page is to be read: with which credentials, and whose certificates count."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from collectors.engine.credentials import Credentials
from collectors.engine.endpoints import address_of
from collectors.engine.scrape import Fetcher, is_loopback
from dashboard.config import Config

T = TypeVar("T")


def credentials_of(config: Config, page: str) -> Credentials:
    """What is configured for a page; none, where nothing is."""
    settings = config.engine
    given = [one for one in (*settings.urls, *config.gpu.pages) if _is(one, page)]
    return Credentials(
        userinfo=next((info for one in given if (info := getattr(one, "userinfo", None)) is not None), None),
        token_variable=_of_page(settings.token_env, page),
        token_file=_of_page(settings.token_files, page),
        header_file=_of_page(settings.header_files, page),
    )


def fetcher_of(
    config: Config,
    page: str,
    *,
    address: str | None = None,
    timeout: float | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> Fetcher:
    """A reader of a page, or of another `address` of the same server. `timeout` is engine.timeout unless given."""
    return Fetcher(
        address or page,
        timeout=config.engine.timeout if timeout is None else timeout,
        headers=credentials_of(config, page),
        verify=_verify(config, page),
        monotonic=monotonic,
    )


def _verify(config: Config, page: str) -> bool | Path:
    authorities = _of_page(config.engine.ca_files, page)
    if authorities is not None:
        return authorities
    return not any(_is(one, page) for one in config.engine.insecure)


def _of_page(table: Mapping[str, T], page: str) -> T | None:
    return next((entry for one, entry in table.items() if _is(one, page)), None)


def _is(one: str, page: str) -> bool:
    """Whether two addresses are the same page. What is meant for TLS is not sent in the clear."""
    if address_of(one) != address_of(page):
        return False
    return is_loopback(page) or urlsplit(one).scheme == urlsplit(page).scheme
