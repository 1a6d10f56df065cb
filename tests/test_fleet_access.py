"""Exporters read directly that want a token, a password, a header or a known authority."""

from __future__ import annotations

import argparse
from hashlib import scrypt
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fleet_data import COMMON
from collectors.engine.credentials import Credentials
from collectors.fleet.direct import DirectFleet
from dashboard.commands import fleet as command
from dashboard.commands.common import UsageError, configuration
from dashboard.notation import page_url
from exporters.credentials import ScryptHash
from tests.server_support import Certificates, make_certificates, serving
from tests.test_fleet_direct import pages_of

SECRET = "a-token.of~ours"
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def page() -> bytes:
    return pages_of(COMMON[0], 3)[-1].encode()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(SECRET)
    return path


@pytest.fixture
def users(tmp_path: Path) -> Path:
    # Cheaper than the default, so that nobody derives for seconds.
    digest = scrypt(PASSWORD.encode(), salt=b"saltsalt", n=16, r=8, p=1, dklen=32)
    path = tmp_path / "users"
    path.write_text(f"fleet:{ScryptHash(16, 8, 1, b'saltsalt', digest)}\n")
    return path


def problem(url: str, **options: Any) -> str | None:
    """What one reading of an exporter's page told."""
    fleet = DirectFleet({page_url(url): {}}, timeout=30.0, **options)
    (reader,) = fleet._readers.values()
    reader.read()
    fleet.close()
    told = reader.problem
    assert SECRET not in (told or "")
    assert PASSWORD not in (told or "")
    assert PASSWORD not in reader.name
    return told


def serve(page: bytes, **options: Any) -> Any:
    return serving(page=lambda openmetrics, compressed: page, **options)


def test_the_token_of_the_fleet_opens_each_exporter(page: bytes, token: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("another")
    with serve(page, bearer_token_file=token) as served:
        url = f"127.0.0.1:{served.address.port}"
        assert problem(url, headers=Credentials(token_file=token)) is None
        assert "it asks for credentials; give --token-file" in (problem(url) or "")
        assert "it refuses what it is given" in (problem(url, headers=Credentials(token_file=wrong)) or "")


def test_a_name_and_a_password_in_an_address_are_that_exporters_own(page: bytes, users: Path, token: Path) -> None:
    with serve(page, basic_auth_file=users) as served:
        place = f"127.0.0.1:{served.address.port}"
        common = Credentials(token_file=token)
        assert problem(f"fleet:{PASSWORD.replace(' ', '%20')}@{place}", headers=common) is None
        assert "it refuses" in (problem(place, headers=common) or "")


def test_an_authority_of_ones_own_is_believed_and_another_is_not(
    page: bytes, token: Path, certificates: Certificates
) -> None:
    secured = {"tls_cert": certificates.cert("server"), "tls_key": certificates.key("server")}
    with serve(page, bearer_token_file=token, **secured) as served:
        url, given = f"https://localhost:{served.address.port}", Credentials(token_file=token)
        assert problem(url, headers=given, verify=certificates.cert("authority")) is None
        told = problem(url, headers=given, verify=certificates.cert("stranger")) or ""
        assert "no known authority signed its certificate; name the authority's file in --ca-file" in told
        assert "name it with https://" in (problem(url.replace("https", "http"), headers=given) or "")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of whoever runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def settings_of(*arguments: str) -> Any:
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    return command._for_exporters(configuration(parser.parse_args([*arguments])))


@pytest.mark.usefixtures("bare")
def test_a_prometheus_own_token_is_sent_to_no_exporter(tmp_path: Path, token: Path) -> None:
    config = tmp_path / "fleet.toml"
    access = f'token_file = "{token}"\ninsecure = true\n'
    config.write_text(f"[fleet]\n{access}")
    alone = settings_of("--config", str(config), "a:1")
    assert (alone.token_file, alone.insecure) == (token, True)
    config.write_text(f'[fleet]\nprometheus = "http://prometheus:9090"\n{access}')
    beside = settings_of("--config", str(config), "a:1")
    assert (beside.token_file, beside.insecure) == (None, False)
    meant = settings_of("--config", str(config), "--token-file", str(token), "a:1")
    assert (meant.token_file, meant.insecure) == (token, False)


@pytest.mark.usefixtures("bare")
def test_an_address_that_is_wrong_is_refused_without_its_password(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    with pytest.raises(UsageError) as refused:
        command.run(parser.parse_args([f"fleet:{PASSWORD}@a:99999"]))
    assert PASSWORD not in str(refused.value)
