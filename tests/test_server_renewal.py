"""Certificates and credentials that change while serving, and peers that guess."""

from __future__ import annotations

import shutil
import ssl
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from exporters.credentials import Credentials
from exporters.failures import BURST, FailureLimit
from exporters.file_watch import FileWatch
from exporters.listening import ServerOptions
from exporters.server import MetricsServer
from tests.patience import until
from tests.server_support import Certificates, Client, Served, get, make_certificates, serving
from tests.test_server_credentials import basic, cheap_hash


def told(served: Served, text: str) -> None:
    """Wait until the server has said something."""
    until(lambda: any(text in line for line in (*served.warnings, *served.told)), repr(text))


def test_a_token_that_was_written_anew_is_taken_up_and_the_old_one_no_longer_holds(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    with serving(bearer_token_file=token, reread_seconds=0.02) as served:
        assert get(served, "/metrics", "Authorization: Bearer first").status == 200
        new = tmp_path / "new"
        new.write_text("second")
        new.rename(token)
        told(served, "read anew")
        assert get(served, "/metrics", "Authorization: Bearer second").status == 200
        assert get(served, "/metrics", "Authorization: Bearer first").status == 401


def test_a_file_that_is_wrong_leaves_the_old_credentials_in_force_and_is_told_once(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    with serving(bearer_token_file=token, reread_seconds=0.02) as served:
        token.write_text("")
        told(served, "is empty")
        time.sleep(0.1)
        assert sum("is empty" in warning for warning in served.warnings) == 1
        assert "stay in force" in served.warnings[-1]
        assert get(served, "/metrics", "Authorization: Bearer first").status == 200
        token.write_text("third")
        told(served, "read anew")
        assert get(served, "/metrics", "Authorization: Bearer third").status == 200


def test_a_change_before_serving_begins_is_not_missed(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    options = ServerOptions(port=0, bearer_token_file=token, reread_seconds=0.02)
    said: list[str] = []
    server = MetricsServer(lambda _openmetrics, _compressed: b"", lambda: True, options, inform=said.append)
    address = server.bind()
    token.write_text("second")
    server.start_in_thread()
    try:
        served = Served(address, [], [], said)
        told(served, "read anew")
        assert get(served, "/metrics", "Authorization: Bearer second").status == 200
    finally:
        server.stop()


def test_a_renewed_certificate_is_shown_to_new_connections(tmp_path: Path) -> None:
    old = make_certificates(_made(tmp_path / "old"))
    new = make_certificates(_made(tmp_path / "new"))
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    _install(old, cert, key)
    with serving(tls_cert=cert, tls_key=key, reread_seconds=0.02) as served:
        assert _shown(served) == _der(old)
        _install(new, cert, key)
        told(served, "read anew")
        assert _shown(served) == _der(new)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _install(certificates: Certificates, cert: Path, key: Path) -> None:
    shutil.copy(certificates.cert("server"), cert)
    shutil.copy(certificates.key("server"), key)


def _der(certificates: Certificates) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificates.cert("server").read_text())


def _shown(served: Served) -> bytes:
    pem = ssl.get_server_certificate((served.address.host, served.address.port))
    return ssl.PEM_cert_to_DER_cert(pem)


def test_who_guesses_is_asked_to_wait_and_who_knows_is_served_beside_it(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(f"prometheus:{cheap_hash('right')}\n")
    with serving(basic_auth_file=users) as served:
        assert get(served, "/metrics", basic("prometheus", "right")).status == 200
        answers = [get(served, "/metrics", basic("prometheus", f"guess {number}")) for number in range(BURST + 5)]
        statuses = [answer.status for answer in answers]
        assert statuses[:BURST] == [401] * BURST
        assert statuses[-1] == 429
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert get(served, "/metrics", basic("prometheus", "right")).status == 200
        assert get(served).status == 401  # who presents nothing guesses nothing


def test_wrong_tokens_count_as_guesses_too(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("right")
    with serving(bearer_token_file=token) as served:
        statuses = [
            get(served, "/metrics", f"Authorization: Bearer wrong{number}").status for number in range(BURST + 2)
        ]
        assert statuses[-1] == 429
        assert get(served, "/metrics", "Authorization: Bearer right").status == 200


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 30.0)), max_size=60))
def test_a_peer_that_did_not_fail_never_waits_and_one_that_did_waits_a_bounded_time(
    failures: list[tuple[str, float]],
) -> None:
    limit = FailureLimit(burst=3, seconds_each=2.0)
    now = 0.0
    for peer, pause in failures:
        now += pause
        if limit.wait(peer, now) == 0.0:
            limit.failed(peer, now)
        assert limit.wait(peer, now) <= 2.0 + 1e-9  # of rounding
    assert limit.wait("somebody else", now) == 0.0
    assert all(limit.wait(peer, now + 3600.0) == 0.0 for peer in "abc")


def test_the_number_of_peers_remembered_is_bounded() -> None:
    limit = FailureLimit(burst=1, seconds_each=100.0, peers=2)
    for peer in ("first", "second", "third"):
        limit.failed(peer, 0.0)
    assert limit.wait("first", 0.0) == 0.0
    assert limit.wait("third", 0.0) > 0.0


def test_a_file_replaced_by_another_is_a_change_and_a_missing_one_is_none_until_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    watch = FileWatch((path, None))
    assert not watch.changed()
    path.write_text("one")
    assert watch.changed()
    assert not watch.changed()
    other = tmp_path / "other"
    other.write_text("two")
    other.rename(path)
    assert watch.changed()


def test_without_credentials_nobody_is_asked_to_wait() -> None:
    assert Credentials().quick_verdict("Bearer anything") is True
    with serving() as served, Client(served.address) as client:
        assert client.get().status == 200
