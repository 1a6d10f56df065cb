"""The loader: every kind of error, who wins, and who set what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.config import Config, ConfigError, Flag, Loaded, load, standard_files
from dashboard.config_schema import KINDS
from dashboard.notation import Address, page_url


def load_text(
    folder: Path, text: str, *, environment: Mapping[str, str] | None = None, flags: Mapping[str, Flag] | None = None
) -> Loaded:
    file = folder / "config.toml"
    file.write_text(text)
    return load(environment=environment or {}, files=(file,), flags=flags)


def problems(folder: Path, text: str, **more: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load_text(folder, text, environment=more.get("environment"))
    return [str(problem).removeprefix(f"{folder}/") for problem in raised.value.problems]


def test_no_file_at_all_gives_the_defaults() -> None:
    loaded = load(environment={}, files=(Path("/nowhere/config.toml"),))
    assert loaded.config == Config()
    assert {str(origin) for origin in loaded.origins.values()} == {"default"}
    assert loaded.files == ((Path("/nowhere/config.toml"), "No such file or directory"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[sampling]\ninterval = "1x"', 'config.toml:2: sampling.interval: "1x" is not a duration: write a number'),
        ("[sampling]\ninterval = 2", 'config.toml:2: sampling.interval: 2 has no unit: write "2s"'),
        ("[sampling]\ninterval = true", "config.toml:2: sampling.interval: must be a text in quotes, not true"),
        ('[sampling]\n\ninterval = "2m"', 'config.toml:3: sampling.interval: "2m" is out of range: it must be 250ms'),
        ('[samplin]\ninterval = "2s"', "config.toml:1: samplin: there is no section [samplin]; did you mean sampling?"),
        ("[qqq]\nx = 1", "config.toml:1: qqq: there is no section [qqq]; there are sampling, engine, gpu"),
        ("[engine]\ndiscvoer = true", "config.toml:2: engine.discvoer: there is no such key; did you mean discover?"),
        ('interval = "1s"', "config.toml:1: interval: stands outside any section; interval belongs in [sampling]"),
        ('[tui]\nlisten = "x:1"', "config.toml:2: tui.listen: there is no such key; listen belongs in [server]"),
        ("engine = 3", "config.toml:1: engine: must be a section: write [engine]"),
        ("[[engine]]\nurls = []", "config.toml:1: engine: must be a section: write [engine]"),
        ('[engine]\ndiscover = "yes"', 'config.toml:2: engine.discover: must be true or false, not "yes"'),
        (
            '[engine]\nurls = "a:1"',
            'config.toml:2: engine.urls: must be a list of HOST:PORT or http(s) addresses, not "a:1"',
        ),
        ('[engine]\nurls = ["ftp://a"]', 'config.toml:2: engine.urls: "ftp://a" is not a page address: only http'),
        ('[engine]\nurls = ["http://u:p@a:0"]', 'config.toml:2: engine.urls: "http://***@a:0" is not a page address'),
        (
            '[engine.token_env]\n"a:1" = "a-b"',
            "config.toml:1: engine.token_env: must be the name of an environment variable",
        ),
        ('[engine]\nurls = ["a:99999"]', 'config.toml:2: engine.urls: "a:99999" has no valid port'),
        ('[engine.gpus]\n"a:1" = [true]', "config.toml:1: engine.gpus: true is neither an index"),
        ('[engine.gpus]\n"a:1" = []', "config.toml:1: engine.gpus: must be a list of GPU indices or UUIDs"),
        ('[gpu.peaks]\n"x" = 3', 'config.toml:1: gpu.peaks: "x" must hold dram_bytes_per_second'),
        ('[gpu.peaks]\n"x" = { dram = 3 }', 'config.toml:1: gpu.peaks: "x" must hold dram_bytes_per_second'),
        ('[gpu.peaks."x"]\ntensor_flops_per_second = -1', "config.toml:1: gpu.peaks: tensor_flops_per_second of"),
        ('[engine]\ngpus = ["0"]', "config.toml:2: engine.gpus: must be a table with page addresses as its keys"),
        ('[engine.token_files]\n"a:1" = ""', "config.toml:1: engine.token_files: a path must not be empty here"),
        ('[record]\nbyte_cap = "8 gigs"', 'config.toml:2: record.byte_cap: "8 gigs" is not a size'),
        ("[record]\nbyte_cap = 8", "config.toml:2: record.byte_cap: 8 has no unit"),
        ('[record]\nbyte_cap = "1MB"', 'config.toml:2: record.byte_cap: "1MB" is out of range: it must be 16MiB to'),
        ("[record]\ndirectory = 1", "config.toml:2: record.directory: must be a text in quotes, not 1"),
        ("[server]\nmax_connections = 0", "config.toml:2: server.max_connections: 0 is out of range: it must be 1 to"),
        ("[server]\nmax_connections = 1.5", "config.toml:2: server.max_connections: must be a whole number, not 1.5"),
        ('[server]\nlisten = "localhost"', 'config.toml:2: server.listen: "localhost" is not an address'),
        ('[server]\nlisten = "::1:80"', 'config.toml:2: server.listen: "::1:80" is not an address'),
        ('[server]\nlisten = "a:70000"', 'config.toml:2: server.listen: "a:70000" has no valid port'),
        ('[server]\ntls_cert = "a"', "config.toml:2: server.tls_cert: needs server.tls_key as well"),
        ('[server]\nclient_ca = "a"', "config.toml:2: server.client_ca: needs server.tls_cert as well"),
        ('[server]\nallowed_hosts = ["a/b"]', 'config.toml:2: server.allowed_hosts: "a/b" is not a host name'),
        ("[sampling\n", "config.toml:1: is not TOML: "),
        ("[sampling]\ninterval = 1s", "config.toml:2: is not TOML: "),
        ("[tui]\nmouse = {}", "config.toml:2: tui.mouse: must be true or false, not a table"),
    ],
)
def test_each_problem_names_its_file_line_key_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(expected)


def test_every_problem_is_reported_at_once_in_the_order_of_reading(tmp_path: Path) -> None:
    text = '[sampling]\ninterval = "1x"\n[tui]\nmuose = true\n[server]\nmax_connections = -1\n'
    found = problems(tmp_path, text, environment={"PHASETOP_TUI_ASCII": "maybe"})
    assert [problem.partition(":")[2].partition(":")[0] for problem in found[:3]] == ["2", "4", "6"]
    assert found[3] == 'PHASETOP_TUI_ASCII: must be true or false, not "maybe"'


def test_a_quoted_or_dotted_key_is_found_on_its_line(tmp_path: Path) -> None:
    assert problems(tmp_path, '# interval = 1\nsampling."interval" = 3')[0].startswith("config.toml:2: sampling.int")


def test_a_key_inside_an_inline_table_is_placed_where_the_table_stands(tmp_path: Path) -> None:
    assert problems(tmp_path, "\n\nsampling = { interval = 3 }")[0].startswith("config.toml:3: sampling.interval")


def test_a_file_that_is_not_text_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"[tui]\n# \xff")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load(environment={}, files=(tmp_path / "config.toml",))


def test_a_missing_file_is_a_problem_only_when_it_was_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"here\.toml: cannot be read: No such file"):
        load(environment={}, files=(), config_file=tmp_path / "here.toml")


def test_later_sources_beat_earlier_ones_key_by_key_and_say_so(tmp_path: Path) -> None:
    system, user, named = (tmp_path / name for name in ("system.toml", "user.toml", "named.toml"))
    system.write_text(
        '[sampling]\ninterval = "2s"\n[engine]\ntimeout = "2s"\nmin_interval = "2s"\n[record]\nage_cap = "2h"\n'
        "[server]\nmax_connections = 2\n"
    )
    user.write_text('[engine]\ntimeout = "3s"\nmin_interval = "3s"\n[record]\nage_cap = "3h"\n')
    named.write_text('[engine]\nmin_interval = "4s"\n[record]\nage_cap = "4h"\n')
    loaded = load(
        environment={"PHASETOP_RECORD_AGE_CAP": "5h", "PHASETOP_SERVER_MAX_CONNECTIONS": "5"},
        files=(system, user),
        config_file=named,
        flags={"server.max_connections": Flag("--flag", 6)},
    )
    config = loaded.config
    assert (config.sampling.interval, config.engine.timeout, config.engine.min_interval) == (2.0, 3.0, 4.0)
    assert (config.record.age_cap, config.server.max_connections) == (5 * 3600.0, 6)
    assert {key: str(loaded.origins[key]).removeprefix(f"{tmp_path}/") for key in (
        "sampling.interval", "engine.timeout", "engine.min_interval", "record.age_cap", "server.max_connections",
        "tui.mouse",
    )} == {
        "sampling.interval": "system.toml:2",
        "engine.timeout": "user.toml:2",
        "engine.min_interval": "named.toml:2",
        "record.age_cap": "PHASETOP_RECORD_AGE_CAP",
        "server.max_connections": "--flag",
        "tui.mouse": "default",
    }  # fmt: skip


def test_the_environment_reads_lists_flags_numbers_and_tables() -> None:
    config = load(
        files=(),
        environment={
            "PHASETOP_ENGINE_URLS": "a:1, http://b/x",
            "PHASETOP_ENGINE_DISCOVER": "no",
            "PHASETOP_SERVER_MAX_CONNECTIONS": "7",
            "PHASETOP_SERVER_LISTEN": "[::1]:0",
            "PHASETOP_ENGINE_GPUS": '{ "a:1" = [0, "GPU-1"] }',
        },
    ).config
    assert config.engine.urls == ("http://a:1/metrics", "http://b/x")
    assert config.engine.discover is False
    assert config.server.max_connections == 7
    assert config.server.listen == Address("::1", 0)
    assert config.engine.gpus == {"http://a:1/metrics": ("0", "GPU-1")}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("PHASETOP_TUI_ASCI", "1", "PHASETOP_TUI_ASCI: sets no key; did you mean PHASETOP_TUI_ASCII?"),
        ("PHASETOP_ENGINE_GPUS", "nonsense", "PHASETOP_ENGINE_GPUS: must be an inline table"),
        ("PHASETOP_SERVER_MAX_CONNECTIONS", "many", 'PHASETOP_SERVER_MAX_CONNECTIONS: must be a whole number, not "'),
    ],
)
def test_a_wrong_variable_is_named(name: str, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(environment={name: text}, files=())
    assert str(raised.value).startswith(expected)


def test_variables_that_kubernetes_sets_for_a_service_of_the_same_name_are_let_pass() -> None:
    links = {
        "PHASETOP_SERVER_SERVICE_HOST": "10.0.0.1",
        "PHASETOP_SERVER_SERVICE_PORT_METRICS": "19417",
        "PHASETOP_SERVER_PORT": "tcp://10.0.0.1:19417",
        "PHASETOP_SERVER_PORT_19417_TCP_ADDR": "10.0.0.1",
        "PHASETOP_TEST_DATA": "/data",
    }
    assert load(environment=links, files=()).config == Config()


def test_relative_paths_are_taken_from_the_directory_of_their_file(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, '[record]\ndirectory = "rec"\n[gpu]\nnvml_library = "/lib/x.so"\n')
    assert loaded.config.record.directory == tmp_path / "rec"
    assert loaded.config.gpu.nvml_library == Path("/lib/x.so")


def test_a_relative_xdg_home_is_ignored_as_its_specification_asks() -> None:
    assert standard_files({"XDG_CONFIG_HOME": "rel", "HOME": "/home/a"})[1] == Path(
        "/home/a/.config/phasetop/config.toml"
    )
    assert standard_files({"XDG_CONFIG_HOME": "/x", "HOME": "/home/a"})[1] == Path("/x/phasetop/config.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:8000", "http://localhost:8000/metrics"),
        ("http://localhost:8000/", "http://localhost:8000/metrics"),
        ("https://a/prometheus/metrics?x=1#y", "https://a/prometheus/metrics?x=1"),
        ("[::1]:8000", "http://[::1]:8000/metrics"),
        ("gpu-box", "http://gpu-box/metrics"),
    ],
)
def test_a_page_address_is_completed(text: str, expected: str) -> None:
    assert page_url(text) == expected


@given(st.text(max_size=60))
def test_any_text_is_a_page_address_or_refused(text: str) -> None:
    try:
        url = page_url(text)
    except ValueError:
        return
    assert page_url(url) == url
    assert url.isprintable()


@given(st.text(max_size=200))
def test_any_text_as_a_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("config") / "config.toml"
    file.write_text(text, encoding="utf-8")
    try:
        loaded = load(environment={}, files=(file,))
    except ConfigError:
        return
    assert loaded.files == ((file, None),)


def test_every_value_is_written_back_as_it_was_read(tmp_path: Path) -> None:
    text = """
    [sampling]
    interval = "500ms"
    [engine]
    urls = ["a:1", "http://b/x"]
    insecure = ["https://b:1"]
    token_files = { "a:1" = "/t" }
    token_env = { "a:1" = "TOKEN" }
    header_files = { "a:1" = "/h" }
    ca_files = { "a:1" = "/c" }
    gpus = { "a:1" = [0, "GPU-1"] }
    [gpu]
    pages = ["a:9400"]
    peaks = { "NVIDIA H20" = { dram_bytes_per_second = 4e12 }, "b" = { tensor_flops_per_second = 1 } }
    [record]
    directory = 'with "quotes"'
    byte_cap = "500MB"
    [server]
    listen = "[::1]:1"
    """
    first = load_text(tmp_path, text).config
    written: dict[str, list[str]] = {}
    for path, kind in KINDS.items():
        section, _, key = path.partition(".")
        written.setdefault(section, []).append(f"{key} = {kind.toml(getattr(getattr(first, section), key))}")
    again = "\n".join(f"[{section}]\n" + "\n".join(lines) for section, lines in written.items())
    assert load_text(tmp_path, again).config == first


def test_keys_are_read_quoted_or_dotted_and_each_knows_its_line(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, '[tui.keys]\n"view.toggle" = ["space", "x"]\nview.back = "h"\n')
    assert loaded.config.tui.keys == {"view.toggle": ("space", "x"), "view.back": ("h",)}
    assert loaded.entries["tui.keys.view.toggle"].line == 2
    assert loaded.entries["tui.keys.view.back"].line == 3
    (problem,) = problems(tmp_path, '[tui.keys]\n"view.toggle" = 3\n')
    assert problem.endswith('"view.toggle" must be a key in quotes, or a list of them')
