"""TLS, client certificates, passwords and tokens."""

from __future__ import annotations

import asyncio.sslproto
import base64
import contextlib
import gc
import platform
import socket
import ssl
import subprocess
import sys
import threading

import pytest

from exporters.credentials import Credentials, CredentialsError, ScryptHash, read_token, read_users
from exporters.server import MetricsServer, ServerError, ServerOptions
from tests.patience import PATIENCE
from tests.server_support import PAGE, Certificates, Client, get, make_certificates, serving

# Cheaper than the default, so that the tests do not derive for seconds.


def cheap_hash(password: str) -> ScryptHash:
    from hashlib import scrypt

    return ScryptHash(16, 8, 1, b"saltsalt", scrypt(password.encode(), salt=b"saltsalt", n=16, r=8, p=1, dklen=32))


def basic(name: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users"
    path.write_text(f"# who may scrape\n\nprometheus:{cheap_hash('correct horse: ü')}\n", "utf-8")
    return path


@pytest.fixture
def token(tmp_path):
    path = tmp_path / "token"
    path.write_text("a-token.of~ours\n")
    return path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def test_a_password_matches_its_hash_only():
    made = ScryptHash.of("open sesame")
    parsed = ScryptHash.parse(str(made))
    assert parsed == made
    assert parsed.matches("open sesame")
    assert not parsed.matches("open sesame ")
    assert str(ScryptHash.of("open sesame")) != str(made)


SALT, DIGEST = "c2FsdHNhbHQ=", "QUFB" * 8


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        f"bcrypt$16$8$1${SALT}${DIGEST}",
        f"scrypt$16$8$1${SALT}$!!",
        f"scrypt$15$8$1${SALT}${DIGEST}",
        f"scrypt$16$8$1$c2Fs${DIGEST}",
        f"scrypt$1073741824$8$1${SALT}${DIGEST}",
        f"scrypt$16$0$1${SALT}${DIGEST}",
    ],
)
def test_a_hash_that_is_malformed_or_too_expensive_is_refused(text):
    with pytest.raises(ValueError, match="password hash"):
        ScryptHash.parse(text)


def test_with_a_password_only_who_knows_it_gets_the_page(users):
    with serving(basic_auth_file=users) as served:
        assert get(served, "/metrics", basic("prometheus", "correct horse: ü")).body == PAGE
        for wrong in (
            basic("prometheus", "wrong"),
            basic("stranger", "correct horse: ü"),
            "Authorization: Basic !!!",
            "Authorization: Basic",
            "Authorization: Bearer correct",
            "X: y",
        ):
            answer = get(served, "/metrics", wrong)
            assert answer.status == 401
            assert answer.headers["www-authenticate"].startswith("Basic realm=")
            assert PAGE not in answer.body


def test_the_landing_page_needs_credentials_and_the_probes_do_not(users):
    with serving(basic_auth_file=users) as served:
        assert get(served, "/").status == 401
        assert get(served, "/-/healthy").status == 200
        assert get(served, "/-/ready").status == 200


def test_a_password_is_derived_once_and_remembered_without_being_kept():
    derived = []

    class Counting(ScryptHash):
        __slots__ = ()

        def matches(self, password: str) -> bool:
            derived.append(password)
            return super().matches(password)

    known = cheap_hash("right")
    credentials = Credentials({"me": Counting(known.cost, known.block, known.parallel, known.salt, known.digest)})
    header = basic("me", "right").partition(": ")[2]
    assert credentials.quick_verdict(header) is None
    assert credentials.verdict(header)
    assert [credentials.quick_verdict(header) for _ in range(3)] == [True] * 3
    assert derived == ["right"]
    assert b"right" not in repr(vars(credentials)).encode()


def test_a_flood_of_wrong_passwords_does_not_push_out_the_right_one():
    credentials = Credentials({"me": cheap_hash("right")})
    right = basic("me", "right").partition(": ")[2]
    assert credentials.verdict(right)
    for number in range(600):
        assert not credentials.verdict(basic("me", str(number)).partition(": ")[2])
    assert credentials.quick_verdict(right) is True


def test_a_slow_derivation_does_not_hold_up_other_clients(tmp_path):
    users = tmp_path / "users"
    users.write_text(f"me:{ScryptHash.of('right')}\n")
    with serving(basic_auth_file=users) as served:
        known = basic("me", "right")
        assert get(served, "/metrics", known).status == 200
        guessing = [Client(served.address) for _ in range(6)]
        for number, client in enumerate(guessing):
            client.send(f"GET /metrics HTTP/1.1\r\nHost: localhost\r\n{basic('me', str(number))}\r\n\r\n".encode())
        assert get(served, "/metrics", known).status == 200
        assert {client.answer().status for client in guessing} == {401}
        for client in guessing:
            client.socket.close()


def test_requests_behind_one_whose_password_is_being_checked_wait_their_turn(users):
    with serving(basic_auth_file=users) as served, Client(served.address) as client:
        right = basic("prometheus", "correct horse: ü")
        client.send(
            f"GET /metrics HTTP/1.1\r\nHost: localhost\r\n{right}\r\n\r\n"
            "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("latin-1")
        )
        assert client.answer().body == PAGE
        assert client.answer().body == b"healthy\n"


def test_with_a_token_only_who_has_it_gets_the_page(token):
    with serving(bearer_token_file=token) as served:
        assert get(served, "/metrics", "Authorization: Bearer a-token.of~ours").body == PAGE
        assert get(served, "/metrics", "Authorization: bearer a-token.of~ours").status == 200
        for wrong in (
            "Authorization: Bearer a-token",
            "Authorization: Bearer \xfc",
            "Authorization: Basic YTpi",
            "X: y",
        ):
            answer = get(served, "/metrics", wrong)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == 'Bearer realm="phasetop"'


def test_either_of_token_and_password_will_do(users, token):
    with serving(basic_auth_file=users, bearer_token_file=token) as served:
        assert get(served, "/metrics", "Authorization: Bearer a-token.of~ours").status == 200
        assert get(served, "/metrics", basic("prometheus", "correct horse: ü")).status == 200
        assert get(served).status == 401


def test_over_tls_the_page_is_served_and_plain_http_is_not(certificates):
    with serving(tls_cert=certificates.cert("server"), tls_key=certificates.key("server")) as served:
        assert served.address.url.startswith("https://")
        assert get(served, context=certificates.client_context()).body == PAGE
        with Client(served.address) as plain:
            plain.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert plain.is_ended()
        assert served.warnings == []


def test_a_client_that_stalls_its_handshake_is_sent_away_and_holds_up_nobody(certificates):
    with serving(
        tls_cert=certificates.cert("server"), tls_key=certificates.key("server"), handshake_seconds=1.0
    ) as served:
        stalled = [Client(served.address) for _ in range(5)]
        stalled[0].send(b"\x16\x03\x01\x02\x00\x01\x00")
        assert get(served, context=certificates.client_context()).status == 200
        assert all(client.is_ended() for client in stalled)
        for client in stalled:
            client.socket.close()


def test_stalled_handshakes_count_against_the_limit_and_the_oldest_goes(certificates):
    with serving(tls_cert=certificates.cert("server"), tls_key=certificates.key("server"), max_connections=4) as served:
        stalled = [Client(served.address) for _ in range(40)]
        assert get(served, context=certificates.client_context()).status == 200
        assert stalled[0].is_ended()
        for client in stalled:
            client.socket.close()


def test_handshakes_that_were_given_up_do_not_pile_up_in_memory(certificates):
    def alive() -> int:
        return sum(isinstance(one, asyncio.sslproto.SSLProtocol) for one in gc.get_objects())

    options = {"tls_cert": certificates.cert("server"), "tls_key": certificates.key("server"), "max_connections": 4}
    gc.collect()
    with serving(**options) as served, contextlib.ExitStack() as opened:
        gc.disable()  # when it comes round by itself is chance
        opened.callback(gc.enable)
        for _ in range(300):
            opened.enter_context(socket.create_connection((served.address.host, served.address.port)))
        answer = get(served, context=certificates.client_context())
        assert answer.status == 200
        assert alive() <= 100


def test_with_client_ca_only_clients_it_signed_are_served(certificates):
    with serving(
        tls_cert=certificates.cert("server"),
        tls_key=certificates.key("server"),
        client_ca=certificates.cert("authority"),
    ) as served:
        assert get(served, context=certificates.client_context("client")).body == PAGE
        for name in (None, "stranger"):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                get(served, context=certificates.client_context(name))
        assert served.warnings == []


def test_old_protocol_versions_are_not_spoken(certificates):
    context = certificates.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(tls_cert=certificates.cert("server"), tls_key=certificates.key("server")) as served:
        assert get(served, context=context).status == 200
        with socket.create_connection((served.address.host, served.address.port), 10) as plain:
            # A ClientHello of TLS 1.0 with one cipher suite and no extensions.
            hello = b"\x03\x01" + bytes(32) + b"\x00" + b"\x00\x02\x00\x2f" + b"\x01\x00"
            record = b"\x01" + len(hello).to_bytes(3, "big") + hello
            plain.sendall(b"\x16\x03\x01" + len(record).to_bytes(2, "big") + record)
            answer = plain.recv(100)
            assert answer == b"" or answer[0] == 0x15


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"tls_cert": "server.crt"}, "tls_cert is set but tls_key is not.*set tls_key, or unset tls_cert"),
        ({"tls_key": "server.key"}, "tls_key is set but tls_cert is not"),
        ({"client_ca": "authority.crt"}, "client_ca is set .* only over TLS; set both, or unset client_ca"),
        ({"tls_cert": "missing.crt", "tls_key": "server.key"}, "tls_cert .*missing.crt cannot be read: No such file"),
        ({"tls_cert": "server.crt", "tls_key": "stranger.key"}, "cannot be used: .*belong together"),
        ({"tls_cert": "server.key", "tls_key": "server.key"}, "cannot be used"),
        ({"tls_cert": "server.crt", "tls_key": "encrypted.key"}, "encrypted.key is encrypted"),
        ({"tls_cert": "server.crt", "tls_key": "server.key", "client_ca": "server.key"}, "client_ca .* cannot be used"),
    ],
)
def test_half_configured_tls_is_refused_with_the_remedy(certificates, options, remedy):
    encrypted = certificates.key("encrypted")
    if not encrypted.exists():
        subprocess.run(
            ["openssl", "ec", "-in", certificates.key("server"), "-out", encrypted, "-aes256", "-passout", "pass:x"],
            check=True,
            capture_output=True,
            timeout=PATIENCE,
        )
    paths = {key: certificates.folder / name for key, name in options.items()}
    with pytest.raises(ServerError, match=remedy):
        MetricsServer(lambda *_: b"", lambda: True, ServerOptions(port=0, **paths)).bind()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "names nobody"),
        ("prometheus\n", "line 1: expected NAME:"),
        ("# x\nprometheus:secret\n", "line 2: a password hash has the form"),
    ],
)
def test_a_file_of_users_that_is_wrong_is_named_with_its_line(tmp_path, content, problem):
    path = tmp_path / "users"
    path.write_text(content)
    with pytest.raises(CredentialsError, match=problem):
        read_users(path)
    with pytest.raises(ServerError, match=str(path)):
        MetricsServer(lambda *_: b"", lambda: True, ServerOptions(port=0, basic_auth_file=path)).bind()


@pytest.mark.parametrize("content", [b"", b"two words\n", b"\xff\xfe"])
def test_a_file_that_holds_no_token_is_refused(tmp_path, content):
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(CredentialsError, match="bearer_token_file"):
        read_token(path)


def test_beyond_loopback_without_credentials_warns_once(token):
    warnings: list[str] = []
    server = MetricsServer(lambda *_: PAGE, lambda: True, ServerOptions(host="0.0.0.0", port=0), warn=warnings.append)
    address = server.start_in_thread()
    try:
        for _ in range(3):
            with Client(type(address)("127.0.0.1", address.port, False, False)) as client:
                assert client.get(host="any.name").status == 200
    finally:
        server.stop()
    assert len(warnings) == 1
    assert "without credentials" in warnings[0]
    assert not address.loopback


def test_credentials_in_the_clear_beyond_loopback_are_warned_of(token):
    warnings: list[str] = []
    options = ServerOptions(host="0.0.0.0", port=0, bearer_token_file=token)
    server = MetricsServer(lambda *_: PAGE, lambda: True, options, warn=warnings.append)
    server.bind()
    server.stop()
    assert [warning for warning in warnings if "in the clear" in warning] == warnings
    assert len(warnings) == 1


def test_many_clients_at_once_all_get_their_page(users):
    answers: list[int] = []

    def scrape() -> None:
        answers.append(get(served, "/metrics", basic("prometheus", "correct horse: ü")).status)

    with serving(basic_auth_file=users) as served:
        assert get(served, "/metrics", basic("prometheus", "correct horse: ü")).status == 200
        threads = [threading.Thread(target=scrape) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [200] * 20


RESIDENT = """
import threading
from exporters.credentials import Credentials, ScryptHash

def resident() -> int:
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def derive() -> None:
    for number in range(3):
        credentials.verdict(f"Basic {number}")

user = ScryptHash.of("secret")
before = resident()
credentials = Credentials({"prometheus": user})
for _ in range(2):
    thread = threading.Thread(target=derive)
    thread.start()
    thread.join()
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has to be told")
def test_the_memory_that_derivations_take_is_not_kept():
    answer = subprocess.run([sys.executable, "-c", RESIDENT], check=True, capture_output=True, text=True, timeout=120)
    assert int(answer.stdout) < 8 << 20  # of 16 MiB for each of the threads
