"""What a protected page asks for: tokens, names and passwords, headers. Read from files and the environment only.

Nothing in here is ever put into a message: a problem names the file or the variable, never what it
holds. Files are read again when they change, so a token that is renewed needs no restart.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from collectors.file_trace import FileTrace, file_trace

_SIZE_LIMIT = 16_384
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]{1,100})\s*:\s*([\x20-\x7e]{0,8192})")
_NOT_TO_BE_SET = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})


class CredentialProblem(Exception):
    """Credentials that cannot be used. The message says which and why, without what they are."""


class Credentials:
    """The headers for one page. Called for every read: the same mapping as long as nothing changed.

    The later of these wins where they give the same header: `userinfo` (as in an address, still
    percent-encoded), `token_variable`, `token_file`, `header_file` (a `Name: value` line each).
    """

    def __init__(
        self,
        *,
        userinfo: str | None = None,
        token_variable: str | None = None,
        token_file: Path | None = None,
        header_file: Path | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._userinfo = userinfo
        self._token_variable = token_variable
        self._token_file = token_file
        self._header_file = header_file
        self._environment = environment
        self._read: tuple[FileTrace | None, ...] | None = None
        self._headers: Mapping[str, str] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        given = (self._userinfo, self._token_variable, self._token_file, self._header_file)
        return any(one is not None for one in given)

    def __repr__(self) -> str:
        return "Credentials(***)" if self else "Credentials()"

    def __call__(self) -> Mapping[str, str]:
        """The headers now.

        Raises:
            CredentialProblem: what was named is not there, or is no token or header.
            OSError: a file cannot be read.
        """
        if not self:
            return self._headers
        files = (self._token_file, self._header_file)
        traces = tuple(None if path is None else file_trace(path) for path in files)
        if traces != self._read:
            self._headers = self._gathered()
            self._read = traces
        return self._headers

    def _gathered(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        if self._userinfo is not None:
            name, _, password = self._userinfo.partition(":")
            pair = f"{unquote(name)}:{unquote(password)}".encode()
            headers["Authorization"] = f"Basic {b64encode(pair).decode()}"
        if self._token_variable is not None:
            where = f"the environment variable {self._token_variable}"
            if not (text := self._environment.get(self._token_variable)):
                raise CredentialProblem(f"{where}, which is to hold its token, is not set")
            headers["Authorization"] = f"Bearer {_token(text, where)}"
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {_token(_text(self._token_file), str(self._token_file))}"
        if self._header_file is not None:
            headers.update(_header_lines(_text(self._header_file), str(self._header_file)))
        return headers


def _text(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(_SIZE_LIMIT + 1)
    if len(raw) > _SIZE_LIMIT:
        raise CredentialProblem(f"{path} is longer than {_SIZE_LIMIT} bytes")
    return raw.decode("utf-8", "replace")


def _token(text: str, where: str) -> str:
    token = text.strip()
    if not token:
        raise CredentialProblem(f"{where} is empty")
    if _TOKEN.fullmatch(token) is None:
        raise CredentialProblem(f"{where} does not hold one word of ASCII characters, as tokens are")
    return token


def _header_lines(text: str, where: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        found = _HEADER.fullmatch(line)
        if found is None or found[1].lower() in _NOT_TO_BE_SET:
            raise CredentialProblem(f"{where}, line {number}: no header that can be sent; write Name: value")
        headers[found[1]] = found[2].strip()
    return headers
