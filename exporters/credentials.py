"""Who may read the page: basic authentication with scrypt hashes, and a bearer token.

A derivation takes tens of milliseconds, so verdicts are remembered under a digest keyed with a
secret of this process; the credentials themselves are not kept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from collectors.memory import give_large_memory_back

_COST, _BLOCK, _PARALLEL = 1 << 14, 8, 1
_MEMORY_LIMIT = 256 << 20
_REMEMBERED = 256
_HASH_FORM = "scrypt$N$R$P$SALT$HASH"
_LARGE = 1 << 20
"""Bytes from which on memory is given back as soon as it is free: a derivation takes 16 MB by default."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


class CredentialsError(ValueError):
    """A file of credentials that cannot be used: what, where, and what to do."""


@dataclass(frozen=True, slots=True)
class ScryptHash:
    """A password's scrypt hash with the parameters it was derived with."""

    cost: int
    block: int
    parallel: int
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, password: str) -> ScryptHash:
        salt = secrets.token_bytes(16)
        return cls(_COST, _BLOCK, _PARALLEL, salt, _derive(password, _COST, _BLOCK, _PARALLEL, salt, 32))

    @classmethod
    def parse(cls, text: str) -> ScryptHash:
        """Read `scrypt$N$R$P$SALT$HASH` (salt and hash in base64).

        Raises:
            ValueError: the text has another form, or parameters out of bounds.
        """
        parts = text.split("$")
        if len(parts) != 6 or parts[0] != "scrypt":
            raise ValueError(f"a password hash has the form {_HASH_FORM}")
        try:
            cost, block, parallel = (int(part) for part in parts[1:4])
            salt, digest = (base64.b64decode(part, validate=True) for part in parts[4:])
        except (ValueError, binascii.Error):
            raise ValueError(f"a password hash has the form {_HASH_FORM}, salt and hash in base64") from None
        if cost < 2 or cost & (cost - 1) or block < 1 or parallel < 1 or len(salt) < 8 or len(digest) < 16:
            raise ValueError("the parameters of a password hash are out of bounds")
        if 128 * block * (cost + parallel + 2) > _MEMORY_LIMIT:
            raise ValueError("the parameters of a password hash ask for more than 256 MiB of memory")
        return cls(cost, block, parallel, salt, digest)

    def __str__(self) -> str:
        salt, digest = (base64.b64encode(part).decode() for part in (self.salt, self.digest))
        return f"scrypt${self.cost}${self.block}${self.parallel}${salt}${digest}"

    def matches(self, password: str) -> bool:
        """Whether this is the password's hash. Takes tens of milliseconds."""
        derived = _derive(password, self.cost, self.block, self.parallel, self.salt, len(self.digest))
        return hmac.compare_digest(derived, self.digest)


def _derive(password: str, cost: int, block: int, parallel: int, salt: bytes, length: int) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=_MEMORY_LIMIT + (1 << 20), dklen=length
    )


def read_users(path: Path) -> dict[str, ScryptHash]:
    """Read `NAME:HASH` lines; blank lines and lines that begin with # are skipped.

    Raises:
        CredentialsError: the file cannot be read, names nobody, or a line of it is wrong.
    """
    users: dict[str, ScryptHash] = {}
    for number, line in enumerate(_read(path, "basic_auth_file").splitlines(), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        name, colon, text = entry.partition(":")
        if not name or not colon:
            raise CredentialsError(f"{path}, line {number}: expected NAME:{_HASH_FORM}")
        try:
            users[name] = ScryptHash.parse(text)
        except ValueError as problem:
            raise CredentialsError(f"{path}, line {number}: {problem}") from None
    if not users:
        raise CredentialsError(f"basic_auth_file {path} names nobody; add a line NAME:{_HASH_FORM} or unset it")
    return users


def read_token(path: Path) -> str:
    """The bearer token in a file.

    Raises:
        CredentialsError: the file cannot be read, is empty, or holds something that is no token.
    """
    token = _read(path, "bearer_token_file").strip()
    if not _TOKEN.fullmatch(token):
        what = "is empty" if not token else "holds characters that a bearer token cannot have"
        raise CredentialsError(f"bearer_token_file {path} {what}; write one token on one line, or unset it")
    return token


def _read(path: Path, key: str) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise CredentialsError(f"{key} {path} cannot be read: {reason}") from None


class Credentials:
    """Judges `Authorization` headers. Thread-safe. Without users and token everyone may read."""

    def __init__(self, users: Mapping[str, ScryptHash] | None = None, token: str | None = None) -> None:
        self._users = dict(users or {})
        self._token = token
        if self._users:
            give_large_memory_back(_LARGE)
        self._nobody = ScryptHash.of(secrets.token_hex(16)) if self._users else None
        self._key = secrets.token_bytes(32)
        self._lock = Lock()
        # Apart, so that a flood of wrong credentials cannot push out the right ones.
        self._verdicts: dict[bool, OrderedDict[bytes, None]] = {True: OrderedDict(), False: OrderedDict()}

    @property
    def required(self) -> bool:
        return bool(self._users) or self._token is not None

    @property
    def challenges(self) -> tuple[str, ...]:
        """What a refused client is told to present (`WWW-Authenticate`)."""
        basic = ('Basic realm="phasetop", charset="UTF-8"',) if self._users else ()
        return basic + (('Bearer realm="phasetop"',) if self._token is not None else ())

    def quick_verdict(self, authorization: str) -> bool | None:
        """Whether the header grants access, as far as that is known at once; None asks for `verdict`."""
        if not self.required:
            return True
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "bearer" and self._token is not None:
            return hmac.compare_digest(value.strip().encode(), self._token.encode())
        if scheme.lower() != "basic" or not self._users:
            return False
        digest = self._digest(authorization)
        with self._lock:
            for verdict, remembered in self._verdicts.items():
                if digest in remembered:
                    remembered.move_to_end(digest)
                    return verdict
        return None

    def verdict(self, authorization: str) -> bool:
        """Whether a `Basic` header grants access. Takes tens of milliseconds, for a stranger too."""
        name, password = _name_and_password(authorization)
        known = self._users.get(name, self._nobody)
        verdict = known is not None and known.matches(password) and name in self._users
        with self._lock:
            remembered = self._verdicts[verdict]
            remembered[self._digest(authorization)] = None
            while len(remembered) > _REMEMBERED:
                remembered.popitem(last=False)
        return verdict

    def _digest(self, authorization: str) -> bytes:
        return hmac.digest(self._key, authorization.encode(), "sha256")


def _name_and_password(authorization: str) -> tuple[str, str]:
    """Both of a `Basic` header; empty when it cannot be decoded."""
    try:
        decoded = base64.b64decode(authorization.partition(" ")[2].strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return "", ""
    name, _, password = decoded.partition(":")
    return name, password
