from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.engine.listeners import Listener, listeners, listeners_in_files
from tests.live_support import plant

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(address: str, port: int, state: str, inode: int) -> str:
    remote = "0" * len(address)
    return f"   0: {address}:{port:04X} {remote}:0000 {state} 00000000:00000000 00:00000000 00000000  0  0 {inode} 1\n"


def test_the_files_listeners_are_read_and_nothing_else_in_them(tmp_path: Path) -> None:
    ipv4 = line("0100007F", 8000, "0A", 11) + line("00000000", 30000, "0A", 12) + line("0100007F", 9, "01", 13)
    ipv6 = line("0" * 32, 8080, "0A", 14) + line("0000000000000000FFFF00000100007F", 81, "0A", 15) + "garbage\n"
    proc = plant(tmp_path, {"net/tcp": HEADER + ipv4, "net/tcp6": HEADER + ipv6})
    assert listeners_in_files(proc) == (
        Listener("127.0.0.1", 8000, 11),
        Listener("0.0.0.0", 30000, 12),
        Listener("::", 8080, 14),
        Listener("127.0.0.1", 81, 15),
    )


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "127.0.0.1"),
        ("10.0.0.5", "10.0.0.5"),
        ("::1", "[::1]"),
        ("fd00::1", "[fd00::1]"),
    ],
)
def test_a_listener_says_what_to_connect_to(address: str, host: str) -> None:
    assert Listener(address, 1, 1).host == host


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_real_listener_is_found_by_the_kernel_and_in_the_files_alike(
    family: socket.AddressFamily, address: str
) -> None:
    try:
        listening = socket.create_server((address, 0), family=family)
    except OSError:
        return  # a machine without IPv6 has none of its listeners either
    with listening:
        wanted = Listener(address, listening.getsockname()[1], os.fstat(listening.fileno()).st_ino)
        assert wanted in listeners()
        assert wanted in listeners_in_files()


def test_a_connected_socket_is_no_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            assert sum(one.port == port for one in listeners()) == 1


@given(st.text())
def test_any_file_is_read_without_an_error(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        plant(Path(folder), {"net/tcp": HEADER + text})
        listeners_in_files(folder)
