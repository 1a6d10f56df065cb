"""Where and how the server listens: options, TLS, sockets, and the errors that say what to do."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from exporters.credentials import Credentials, CredentialsError, read_token, read_users

_BACKLOG = 256


class ServerError(RuntimeError):
    """The server cannot start: what is wrong, where, and what to do, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How to listen and whom to serve. All times are seconds.

    `request_seconds` is for a whole request to arrive, `idle_seconds` between two requests,
    `write_seconds` for a client to take its answer. `allowed_hosts` are further names that the
    Host header may carry when the address is a loopback one. Files of certificates and credentials
    are looked at every `reread_seconds`, and read anew when they changed.
    """

    host: str = "127.0.0.1"
    port: int = 19417
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    basic_auth_file: Path | None = None
    bearer_token_file: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    max_connections: int = 32
    header_bytes: int = 16_384
    handshake_seconds: float = 5.0
    request_seconds: float = 5.0
    idle_seconds: float = 120.0
    write_seconds: float = 10.0
    reread_seconds: float = 5.0

    @property
    def files(self) -> tuple[Path | None, ...]:
        return self.tls_cert, self.tls_key, self.client_ca, self.basic_auth_file, self.bearer_token_file


@dataclass(frozen=True, slots=True)
class BoundAddress:
    """Where the server listens. `loopback` says that only this machine can reach it."""

    host: str
    port: int
    tls: bool
    loopback: bool

    @property
    def url(self) -> str:
        host = {"0.0.0.0": "localhost", "::": "localhost"}.get(self.host, self.host)
        return f"{'https' if self.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}/"


def load_credentials(options: ServerOptions) -> Credentials:
    """Raises ServerError when a file of credentials cannot be used."""
    try:
        users = read_users(options.basic_auth_file) if options.basic_auth_file else None
        token = read_token(options.bearer_token_file) if options.bearer_token_file else None
    except CredentialsError as problem:
        raise ServerError(str(problem)) from None
    return Credentials(users, token)


def tls_context(options: ServerOptions) -> ssl.SSLContext | None:
    """The TLS side of the options, None for plain HTTP.

    Raises:
        ServerError: only a part of it is configured, or a file of it cannot be used.
    """
    cert, key, client_ca = options.tls_cert, options.tls_key, options.client_ca
    if not cert and not key:
        if client_ca:
            raise ServerError(
                f"client_ca is set ({client_ca}) but tls_cert and tls_key are not: clients can show a certificate "
                "only over TLS; set both, or unset client_ca"
            )
        return None
    if not cert or not key:
        given, lacking = ("tls_cert", "tls_key") if cert else ("tls_key", "tls_cert")
        raise ServerError(f"{given} is set but {lacking} is not: TLS needs both; set {lacking}, or unset {given}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, cert, key)
    if client_ca:
        _load_client_ca(context, client_ca)
    return context


def _load(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    for name, path in (("tls_cert", cert), ("tls_key", key)):
        _must_be_readable(name, path)
    asked: list[bool] = []

    def passphrase() -> str:
        asked.append(True)
        return ""

    try:
        context.load_cert_chain(cert, key, password=passphrase)
    except ssl.SSLError as problem:
        if asked:
            raise ServerError(f"tls_key {key} is encrypted; give it without a passphrase") from None
        reason = problem.reason or str(problem)
        raise ServerError(
            f"tls_cert {cert} and tls_key {key} cannot be used: {reason}; both must be PEM and belong together"
        ) from None


def _load_client_ca(context: ssl.SSLContext, client_ca: Path) -> None:
    _must_be_readable("client_ca", client_ca)
    try:
        context.load_verify_locations(client_ca)
    except ssl.SSLError as problem:
        reason = problem.reason or str(problem)
        raise ServerError(f"client_ca {client_ca} cannot be used: {reason}; it must hold certificates in PEM") from None
    context.verify_mode = ssl.CERT_REQUIRED


def _must_be_readable(name: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as problem:
        raise ServerError(f"{name} {path} cannot be read: {problem.strerror}") from None


def listen(options: ServerOptions) -> list[socket.socket]:
    """Listening sockets on every address the host stands for.

    Raises:
        ServerError: the address cannot be had.
    """
    where = f"{options.host}:{options.port}"
    if not 0 <= options.port <= 65_535:
        raise ServerError(f"cannot listen on {where}: a port lies between 1 and 65535")
    try:
        found = socket.getaddrinfo(options.host or None, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as problem:
        raise ServerError(f"cannot listen on {where}: {problem}; give an address of this machine") from None
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            sockets.append(_listen(family, address))
            if options.port == 0:
                break  # the next address would get another port
    except OSError as problem:
        for opened in sockets:
            opened.close()
        raise ServerError(f"cannot listen on {where}: {_remedy(problem, options.port)}") from None
    return sockets


def _listen(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _remedy(problem: OSError, port: int) -> str:
    match problem.errno:
        case errno.EADDRINUSE:
            return (
                "the port is in use, perhaps by another phasetop; stop that one or choose another port with "
                "--listen ADDR:PORT"
            )
        case errno.EACCES | errno.EPERM:
            return f"not permitted; ports below 1024 are for root, choose a higher one than {port}"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; use 127.0.0.1, 0.0.0.0 or one of its own"
        case _:
            return os.strerror(problem.errno) if problem.errno else str(problem)


def is_loopback(sockets: list[socket.socket]) -> bool:
    """Whether every socket can be reached from this machine only."""
    return all(ipaddress.ip_address(opened.getsockname()[0].partition("%")[0]).is_loopback for opened in sockets)
