from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.engine.credentials import CredentialProblem, Credentials
from collectors.engine.scrape import Fetcher, PageProblem
from dashboard.access import credentials_of, fetcher_of
from dashboard.config import Config, ConfigError, Loaded, load
from dashboard.notation import page_url, without_userinfo
from tests.live_support import SmallServer, reply, serving, whole
from tests.making import vllm_page
from tests.patience import PATIENCE
from tests.server_support import Certificates, make_certificates

PAGE = reply(vllm_page().encode())
REFUSED = reply(b"", status="401 Unauthorized")


def guarded(header: str, value: str) -> Any:
    """A page that only who sends this header gets."""

    def answer(handler: Any) -> None:
        sent = handler.server.small.requests[-1][2].get(header.lower())
        (PAGE if sent == value else REFUSED)(handler)

    return answer


def config_of(**engine: Any) -> Config:
    base = Config()
    return replace(base, engine=replace(base.engine, **engine))


def loaded(tmp_path: Path, text: str, environment: Mapping[str, str] | None = None) -> Loaded:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return load(environment=environment or {}, files=(file,))


def refusal_of(fetcher: Fetcher) -> str:
    with closing(fetcher), pytest.raises(PageProblem) as raised:
        fetcher.fetch()
    return raised.value.reason


def test_a_token_of_a_file_is_sent_and_read_again_when_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    with (
        serving(guarded("Authorization", "Bearer first")) as server,
        closing(Fetcher(server.url, headers=Credentials(token_file=file))) as fetcher,
    ):
        assert fetcher.fetch().text
        server.behaviour = guarded("Authorization", "Bearer second")
        with pytest.raises(PageProblem, match=r"blocked \(401\): it refuses what it is given as credentials"):
            fetcher.fetch()
        file.write_text("second\n")
        assert fetcher.fetch().text


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("t")
    credentials = Credentials(token_file=file)
    assert credentials() is credentials()


def test_a_token_comes_from_the_environment_too() -> None:
    credentials = Credentials(token_variable="VLLM_TOKEN", environment={"VLLM_TOKEN": "t0ken"})
    assert credentials() == {"Authorization": "Bearer t0ken"}
    with pytest.raises(CredentialProblem, match="environment variable VLLM_TOKEN"):
        Credentials(token_variable="VLLM_TOKEN", environment={})()


def test_headers_of_a_file_are_sent_and_beat_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("# a comment\n\nX-Api-Key: k 1\nauthorization:  Token abc\n")
    credentials = Credentials(header_file=file)
    assert credentials() == {"X-Api-Key": "k 1", "authorization": "Token abc"}
    with serving(guarded("X-Api-Key", "k 1")) as server, closing(Fetcher(server.url, headers=credentials)) as fetcher:
        assert fetcher.fetch().text


@pytest.mark.parametrize("text", ["no colon s3cret", "Host: s3cret", "X: s3cret\x00", "X Y: s3cret", "X: s3crét"])
def test_a_line_that_is_no_header_is_named_without_what_it_holds(tmp_path: Path, text: str) -> None:
    file = tmp_path / "headers"
    file.write_text(f"A: 1\n{text}\n")
    with pytest.raises(CredentialProblem, match="headers, line 2") as raised:
        Credentials(header_file=file)()
    assert "s3cr" not in str(raised.value)


@pytest.mark.parametrize("text", ["", " \n", "s3cret two", "s3crét", "x" * 9000, "s3cret\x00"])
def test_a_file_that_holds_no_token_is_named_without_what_it_holds(tmp_path: Path, text: str) -> None:
    file = tmp_path / "file-of-it"
    file.write_text(text)
    reason = refusal_of(Fetcher("http://127.0.0.1:9/metrics", headers=Credentials(token_file=file)))
    assert "file-of-it" in reason
    assert "s3cr" not in reason
    assert "***" not in reason


def test_credentials_show_nothing_of_themselves(tmp_path: Path) -> None:
    assert "s3cret" not in repr(Credentials(userinfo="u:s3cret"))


@given(st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12), st.text(max_size=12))
def test_a_name_and_password_in_an_address_are_sent_and_are_no_part_of_it(name: str, password: str) -> None:
    from urllib.parse import quote

    secret = quote(password, safe="")
    url = page_url(f"http://{name}:{secret}@10.0.0.9:8000/metrics")
    assert url == "http://10.0.0.9:8000/metrics"
    sent = credentials_of(config_of(urls=(url,)), "http://10.0.0.9:8000/metrics")()["Authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")).decode() == f"{name}:{password}"


@pytest.mark.parametrize(
    "text",
    [
        "http://user:hunter2@host:99999/x",
        "ftp://user:hunter2@host/x",
        "user:hunter2@:80",
        "http://user:hunter2@[::1/x",
        "http://user:hunter2@ho st/",
        "http://us@er:hunter2@host:x",
    ],
)
def test_no_complaint_about_an_address_repeats_its_password(tmp_path: Path, text: str) -> None:
    assert "hunter2" not in without_userinfo(text)
    for config in (f"[engine]\nurls = ['{text}']", f"[engine]\nurls = '{text}'", f"[engine]\ndiscover = '{text}'"):
        with pytest.raises(ConfigError) as raised:
            loaded(tmp_path, config)
        assert "hunter2" not in str(raised.value)


def test_the_configuration_is_shown_without_the_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dashboard.cli import main

    file = tmp_path / "config.toml"
    file.write_text('[engine]\nurls = ["http://user:hunter2@10.0.0.9:8000"]')
    assert main(["config", "show", "--config", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "http://***@10.0.0.9:8000/metrics" in shown
    assert "hunter2" not in shown
    again = tmp_path / "again.toml"
    again.write_text(shown)
    with pytest.raises(ConfigError, match="write them again"):
        load(environment={}, config_file=again, files=())


def test_a_token_put_where_a_variables_name_belongs_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, '[engine.token_env]\n"a:1" = "hf_abc-hunter2"')
    assert "hunter2" not in str(raised.value)


def test_each_page_gets_its_own_credentials_and_no_other(tmp_path: Path) -> None:
    config = config_of(token_env={"https://a:1/metrics": "A"}, header_files={"http://b:2/metrics": tmp_path / "b"})
    assert credentials_of(config, "https://a:1/metrics")
    assert not credentials_of(config, "http://a:1/metrics")  # what is meant for TLS is not sent in the clear
    assert not credentials_of(config, "http://c:3/metrics")
    assert credentials_of(config, "http://b:2/metrics/")


def test_a_measured_interval_and_its_document_hold_nothing_of_an_addresses_password() -> None:
    from collectors.document import document
    from dashboard.single import once

    expected = "Basic " + base64.b64encode(b"user:hunter2").decode()
    with serving(guarded("Authorization", expected)) as server:
        url = page_url(server.url.replace("//", "//user:hunter2@"))
        config = config_of(discover=False, urls=(url,))
        tick = whole(lambda: once(replace(config, gpu=replace(config.gpu, enabled=False)), window=0.25))
    (reading,) = tick.interval.engines.values()
    assert (reading.state, reading.endpoint) == ("ok", server.url)
    assert "hunter2" not in str(document(tick)) + repr(tick)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


class TlsServer:
    """A page over TLS, on a name that is not taken for loopback."""

    def __init__(self, certificates: Certificates, name: str) -> None:
        self.certificates, self.name = certificates, name

    def __enter__(self) -> str:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificates.cert(self.name), self.certificates.key(self.name))
        self._serving = serving(PAGE, tls=context)
        self.server: SmallServer = self._serving.__enter__()
        return f"https://127.0.0.1:{self.server.port}/metrics"

    def __exit__(self, *error: Any) -> None:
        self._serving.__exit__(*error)


def read(url: str, verify: bool | Path) -> str:
    with closing(Fetcher(url, verify=verify, timeout=PATIENCE)) as fetcher:
        try:
            fetcher.fetch()
        except PageProblem as problem:
            return problem.reason
    return "ok"


def test_a_page_over_tls_is_read_by_its_authority_and_on_loopback_without_one(certificates: Certificates) -> None:
    with TlsServer(certificates, "server") as url:
        assert read(url, certificates.cert("authority")) == "ok"
        assert read(url, True) == "ok"


def test_what_is_wrong_with_a_certificate_is_said_with_what_to_do(certificates: Certificates, tmp_path: Path) -> None:
    with TlsServer(certificates, "server") as url:
        assert "no known authority signed its certificate" in read(url, certificates.cert("stranger"))
        assert "[engine.ca_files]" in read(url, certificates.cert("stranger"))
        assert "none cannot be read: No such file" in read(url, tmp_path / "none")
        (tmp_path / "empty").write_text("no certificate")
        assert "empty holds no certificates" in read(url, tmp_path / "empty")
    with TlsServer(certificates, "client") as url:
        reason = read(url, certificates.cert("authority"))
        assert "its certificate is not for 127.0.0.1" in reason


@pytest.mark.parametrize(("code", "words"), [(10, "has expired"), (9, "not valid yet"), (62, "is not for a.example")])
def test_a_certificate_out_of_its_time_or_place_is_said_so(code: int, words: str) -> None:
    import ssl

    import httpx

    def answer(request: httpx.Request) -> httpx.Response:
        failed = ssl.SSLCertVerificationError(1, "certificate verify failed")
        failed.verify_code = code
        raise httpx.ConnectError("failed") from failed

    url = "https://a.example/metrics"
    assert words in refusal_of(Fetcher(url, transport=httpx.MockTransport(answer)))


def test_tls_where_there_is_none_and_none_where_there_is_tls(certificates: Certificates) -> None:
    with serving(PAGE) as server:
        assert "name it with http://" in read(server.url.replace("http:", "https:"), True)
    with TlsServer(certificates, "server") as url:
        assert "https://" in read(url.replace("https:", "http:"), True)


def test_a_page_is_not_verified_only_where_the_configuration_says_so() -> None:
    page = "https://10.0.0.5:8000/metrics"
    assert fetcher_of(config_of(), page).verifies is True
    assert fetcher_of(config_of(insecure=(page,)), page).verifies is False
    assert fetcher_of(config_of(insecure=("https://other/metrics",)), page).verifies is True
    assert fetcher_of(config_of(ca_files={page: Path("/ca")}), page).verifies == Path("/ca")
