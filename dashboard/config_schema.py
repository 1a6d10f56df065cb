"""Every key of the configuration: its section, name, kind and default. Nothing reads a file here.

What each key is for, and why its default is what it is, stands in `config.toml`; a test holds that
file against these tables. `Config()` is the configuration of a machine without any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dashboard.config_screen import KeysPerAction
from dashboard.config_tables import (
    GpusPerPage,
    LatenciesPerModel,
    PageUrls,
    PathPerPage,
    PeaksPerName,
    ServerUrl,
    Variable,
    VariablePerPage,
)
from dashboard.config_values import (
    Currency,
    Duration,
    FilePath,
    Flag,
    Kind,
    LabelMatch,
    LabelNames,
    Limit,
    ListenAddress,
    Names,
    Number,
    OneOf,
    Price,
    Quantile,
    Size,
    Whole,
)
from dashboard.notation import Address


def _key(kind: Kind, default: Any) -> Any:
    if isinstance(default, dict):
        return field(default_factory=dict, metadata={"kind": kind})
    return field(default=default, metadata={"kind": kind})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    interval: float = _key(Duration(0.25, 60.0), 1.0)
    """Seconds from one sample to the next; intervals start at whole multiples of it since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    urls: tuple[str, ...] = _key(PageUrls(), ())
    """Metrics pages of engines to read besides those discovered."""
    discover: bool = _key(Flag(), True)
    """Look for engines among this machine's listening sockets."""
    min_interval: float = _key(Duration(0.1, 300.0), 1.0)
    """Seconds between two reads of one page, at least."""
    timeout: float = _key(Duration(0.1, 60.0), 10.0)
    """Seconds after which a page that has not arrived is given up."""
    iteration_stats: tuple[str, ...] = _key(PageUrls(), ())
    """TensorRT-LLM's JSON records of its steps, which reading empties."""
    insecure: tuple[str, ...] = _key(PageUrls(), ())
    """Pages whose certificate is not verified."""
    token_files: Mapping[str, Path] = _key(PathPerPage(), {})
    """Page address -> file holding the bearer token it asks for."""
    token_env: Mapping[str, str] = _key(VariablePerPage(), {})
    """Page address -> environment variable holding the bearer token it asks for."""
    header_files: Mapping[str, Path] = _key(PathPerPage(), {})
    """Page address -> file of `Name: value` lines to send along."""
    ca_files: Mapping[str, Path] = _key(PathPerPage(), {})
    """Page address -> PEM authorities that may have signed its certificate, instead of the system's."""
    gpus: Mapping[str, tuple[str, ...]] = _key(GpusPerPage(), {})
    """Page address -> indices or UUIDs of the GPUs this engine runs on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    enabled: bool = _key(Flag(), True)
    """Read NVIDIA GPUs through NVML."""
    nvml_library: Path | None = _key(FilePath(), None)
    """The NVML library to load instead of the system's libnvidia-ml.so.1."""
    pages: tuple[str, ...] = _key(PageUrls(), ())
    """Metrics pages of GPU exporters to read besides those discovered."""
    discover: bool = _key(Flag(), True)
    """Look for GPU exporters on the ports they use by default."""
    peaks: Mapping[str, tuple[float | None, float | None]] = _key(PeaksPerName(), {})
    """Device name -> its DRAM bandwidth in bytes/s and its dense BF16 tensor rate in flop/s, where known better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    ttft: float | None = _key(Limit(0.001, 3600.0), 2.0)
    """Seconds within which the first token is promised; None: nothing is."""
    ttft_quantile: float = _key(Quantile(0.5, 0.9999), 0.99)
    """The share of requests it is promised to."""
    tpot: float | None = _key(Limit(0.0001, 60.0), 0.1)
    """Seconds within which each further token is promised; None: nothing is."""
    tpot_quantile: float = _key(Quantile(0.5, 0.9999), 0.99)
    """The share of tokens (of requests, where an engine tells no more) it is promised to."""
    models: Mapping[str, Mapping[str, float | None]] = _key(LatenciesPerModel(), {})
    """Model name -> what is promised of it instead, by "ttft" and "tpot"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    gpu_hour_price: float = _key(Number(0.0, 10_000.0), 2.5)
    """What an hour of one GPU costs, in `currency`."""
    electricity_price: float = _key(Number(0.0, 100.0), 0.0)
    """What a kilowatt-hour costs besides; 0: it is in the GPU's price."""
    pue: float = _key(Number(1.0, 5.0), 1.3)
    """Energy of the whole building per energy of its computers."""
    currency: str = _key(Currency(), "USD")
    """What prices are in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    directory: Path | None = _key(FilePath(), None)
    """Where `export` records; None: it does not."""
    byte_cap: int = _key(Size(16 * 2**20, 16 * 2**40), 8 * 2**30)
    """Bytes a recording directory may hold; the oldest files go first."""
    age_cap: float = _key(Duration(3600.0, 3650 * 86400.0), 30 * 86400.0)
    """Seconds after which a recorded file goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    listen: Address = _key(ListenAddress(), Address("127.0.0.1", 19417))
    """Where `export` serves its page."""
    tls_cert: Path | None = _key(FilePath(), None)
    """PEM certificate chain; with `tls_key` the page is served over TLS."""
    tls_key: Path | None = _key(FilePath(), None)
    """PEM private key of `tls_cert`."""
    client_ca: Path | None = _key(FilePath(), None)
    """PEM authorities one of which must have signed a client's certificate."""
    basic_auth_file: Path | None = _key(FilePath(), None)
    """File of NAME:HASH lines, one of which a client must know the password to."""
    bearer_token_file: Path | None = _key(FilePath(), None)
    """File with the token a client must send."""
    allowed_hosts: tuple[str, ...] = _key(Names(), ())
    """Names that a request's Host header may carry besides the loopback ones, when listening on loopback."""
    pod_labels: bool = _key(Flag(), False)
    """Say on the page which Kubernetes pods use which GPU."""
    max_connections: int = _key(Whole(1, 1024), 32)
    """Connections served at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    format: str = _key(OneOf("text", "json"), "text")
    """How `export` and `record` write their log to standard error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    prometheus: str | None = _key(ServerUrl(), None)
    """The Prometheus that `fleet` asks."""
    match: str = _key(LabelMatch(), 'job="phasetop"')
    """Label matchers that choose the nodes' series there."""
    node_labels: tuple[str, ...] = _key(LabelNames(), ("instance",))
    """Labels whose values together name a node."""
    refresh: float = _key(Duration(1.0, 600.0), 10.0)
    """Seconds from one look to the next."""
    lookback: float = _key(Duration(5.0, 3600.0), 60.0)
    """Seconds that a sample may be old to be taken as the present one."""
    timeout: float = _key(Duration(0.1, 300.0), 10.0)
    """Seconds after which an answer that has not arrived is given up."""
    token_file: Path | None = _key(FilePath(), None)
    """File holding the bearer token the server asks for."""
    token_env: str | None = _key(Variable(), None)
    """Environment variable holding it."""
    header_file: Path | None = _key(FilePath(), None)
    """File of `Name: value` lines to send along."""
    ca_file: Path | None = _key(FilePath(), None)
    """PEM authorities that may have signed the server's certificate, instead of the system's."""
    insecure: bool = _key(Flag(), False)
    """Do not verify whose certificate it is."""
    gpu_hour_price: float | None = _key(Price(), None)
    """What an hour of one GPU costs, in any currency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tui:
    ascii: bool = _key(Flag(), False)
    """Draw with ASCII characters only."""
    mouse: bool = _key(Flag(), True)
    """Take mouse clicks and the wheel."""
    theme: str = _key(OneOf("last", "dark", "light", "high-contrast", "ansi"), "last")
    """The theme to begin with."""
    keys: Mapping[str, tuple[str, ...]] = _key(KeysPerAction(), {})
    """Name of what a key does -> the keys that do it instead of the usual ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration, checked."""

    sampling: Sampling = field(default_factory=Sampling)
    engine: Engine = field(default_factory=Engine)
    gpu: Gpu = field(default_factory=Gpu)
    slo: Slo = field(default_factory=Slo)
    report: Report = field(default_factory=Report)
    record: Record = field(default_factory=Record)
    server: Server = field(default_factory=Server)
    log: Log = field(default_factory=Log)
    fleet: Fleet = field(default_factory=Fleet)
    tui: Tui = field(default_factory=Tui)


SECTIONS: Mapping[str, type] = {
    "sampling": Sampling,
    "engine": Engine,
    "gpu": Gpu,
    "slo": Slo,
    "report": Report,
    "record": Record,
    "server": Server,
    "log": Log,
    "fleet": Fleet,
    "tui": Tui,
}
KINDS: Mapping[str, Kind] = {
    f"{section}.{entry.name}": entry.metadata["kind"] for section, table in SECTIONS.items() for entry in fields(table)
}
"""Key path ("sampling.interval") -> its kind, in the order of the file."""
