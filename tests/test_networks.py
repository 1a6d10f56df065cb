from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.engine.networks import addresses_of, container_of, is_elsewhere, is_linked, network_of, published_ports
from collectors.processes import Process
from tests.live_support import plant
from tests.patience import PATIENCE, until

GATEWAY = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000"
LINK = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF"
POD = "cali1\t0702000A\t00000000\t0005\t0\t0\t0\tFFFFFFFF"
BEYOND = "tun0\t0000000A\t010200C0\t0003\t0\t0\t0\t000000FF"
DOWN = "x\t0000A8C0\t00000000\t0000\t0\t0\t0\t0000FFFF"


@pytest.mark.parametrize(
    ("address", "linked"),
    [
        ("192.0.2.9", True),
        ("10.0.2.7", True),
        ("10.0.2.8", False),
        ("8.8.8.8", False),
        ("192.168.1.1", False),
    ],
)
def test_an_address_is_linked_when_its_narrowest_route_has_no_gateway(
    tmp_path: Path, address: str, linked: bool
) -> None:
    proc = plant(tmp_path, {"net/route": "\n".join(["Iface", GATEWAY, LINK, POD, BEYOND, DOWN])})
    assert is_linked(proc, address) is linked


def test_without_routes_nothing_is_linked(tmp_path: Path) -> None:
    assert not is_linked(str(tmp_path), "192.0.2.9")


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_files_are_looked_at_without_an_error(
    tmp_path_factory: pytest.TempPathFactory, routes: str, trie: str
) -> None:
    folder = tmp_path_factory.mktemp("proc")
    for name, text in (("net/route", routes), ("5/net/fib_trie", trie), ("5/cgroup", trie)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="replace")
    assert is_linked(str(folder), "192.0.2.9") in (True, False)
    assert all(not one.startswith("127.") for one in addresses_of(str(folder), 5))
    container_of(str(folder), 5)


@pytest.mark.parametrize(
    ("line", "container"),
    [
        (f"0::/system.slice/docker-{'ab' * 32}.scope", "abababababab"),
        (f"12:memory:/docker/{'cd' * 32}", "cdcdcdcdcdcd"),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{'0f' * 32}.scope", "0f0f0f0f0f0f"),
        (f"0::/machine.slice/libpod-{'12' * 32}.scope/container", "121212121212"),
        ("0::/user.slice/user-1000.slice/session-1.scope", None),
        ("0::/", None),
    ],
)
def test_a_container_is_named_by_the_short_id_its_group_holds(tmp_path: Path, line: str, container: str | None) -> None:
    assert container_of(plant(tmp_path, {"5/cgroup": f"{line}\n"}), 5) == container


def test_only_proxies_that_say_what_they_forward_publish_a_port() -> None:
    def process(pid: int, *arguments: str) -> Process:
        return Process(pid, 1, arguments)

    line = shlex.split("-proto tcp -host-ip 0.0.0.0 -host-port 18000 -container-ip 172.17.0.2 -container-port 8000")
    found = published_ports(
        {
            1: process(1, "/usr/bin/docker-proxy", *line),
            2: process(2, "/usr/bin/docker-proxy", *line),
            3: process(3, "docker-proxy", "-host-port", "x", "-container-port", "8000"),
            4: process(4, "docker-proxy", *line[:1], "udp", *line[2:]),
            5: process(5, "bash", *line),
        }
    )
    assert [(one.host_port, one.address, one.port) for one in found] == [(18000, "172.17.0.2", 8000)]


def test_this_process_is_in_its_own_network() -> None:
    assert network_of("/proc", os.getpid()) is not None
    assert not is_elsewhere("/proc", os.getpid())
    assert not is_elsewhere("/proc", 2**22 + 1)


def test_a_process_in_a_network_of_its_own_is_told_apart_without_any_rights() -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespace can be made here")
    other = subprocess.Popen(
        [unshare, "-rn", sys.executable, "-c", "print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert other.stdout is not None
        other.stdout.readline()
        until(lambda: is_elsewhere("/proc", other.pid), "a network of its own")
        assert addresses_of("/proc", other.pid) == ()
    finally:
        other.communicate(b"\n", timeout=PATIENCE)
