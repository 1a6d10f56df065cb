from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from collectors.network import Interfaces, Links, RdmaPorts, Totals, change
from tests.live_support import plant

COUNTS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.tuples(st.integers(0, 1 << 60), st.integers(0, 1 << 60)), max_size=3
)


def test_only_interfaces_with_a_device_behind_them_are_counted(tmp_path: Path) -> None:
    sys = plant(tmp_path, {"class/net/eth0/device/vendor": "x", "class/net/lo/mtu": "1", "class/net/veth1/mtu": "1"})
    counters = {name: SimpleNamespace(bytes_recv=10, bytes_sent=20) for name in ("eth0", "lo", "veth1")}
    assert Interfaces(lambda: counters, sys).totals() == {"eth0": (10, 20)}


def test_an_interface_that_comes_later_is_judged_then(tmp_path: Path) -> None:
    sys = plant(tmp_path, {"class/net/lo/mtu": "1"})
    counters = {"lo": SimpleNamespace(bytes_recv=1, bytes_sent=1)}
    interfaces = Interfaces(lambda: counters, sys)
    assert interfaces.totals() == {}
    plant(tmp_path, {"class/net/eth1/device/vendor": "x"})
    counters["eth1"] = SimpleNamespace(bytes_recv=5, bytes_sent=6)
    assert interfaces.totals() == {"eth1": (5, 6)}


def test_rdma_counters_are_words_of_four_bytes_and_an_unreadable_port_is_left_out(tmp_path: Path) -> None:
    ports = "class/infiniband/mlx5_0/ports"
    sys = plant(
        tmp_path,
        {
            f"{ports}/1/counters/port_rcv_data": "100\n",
            f"{ports}/1/counters/port_xmit_data": "7\n",
            f"{ports}/2/counters/port_rcv_data": "N/A (no PMA)\n",
            f"{ports}/2/counters/port_xmit_data": "1\n",
        },
    )
    assert RdmaPorts(lambda: 0.0, sys).totals() == {"mlx5_0/1": (400, 28)}


def test_rdma_ports_are_listed_anew_after_a_while(tmp_path: Path) -> None:
    now = [0.0]
    ports = RdmaPorts(lambda: now[0], str(tmp_path))
    assert ports.totals() == {}
    counters = "class/infiniband/mlx5_0/ports/1/counters"
    plant(tmp_path, {f"{counters}/port_rcv_data": "1", f"{counters}/port_xmit_data": "1"})
    assert ports.totals() == {}
    now[0] = 31.0
    assert ports.totals() == {"mlx5_0/1": (4, 4)}


def test_a_total_that_went_back_is_a_gap_and_never_negative() -> None:
    assert change({"eth0": (10, 10)}, {"eth0": (12, 9)}) is None


def test_an_interface_that_just_came_up_counts_from_its_next_reading() -> None:
    assert change({"eth0": (1, 1)}, {"eth0": (4, 5), "eth1": (1000, 1000)}) == (3.0, 4.0)
    assert change({}, {"eth1": (1000, 1000)}) is None
    assert change(None, {"eth1": (1, 1)}) is None


@given(COUNTS, COUNTS)
def test_the_change_between_any_two_totals_is_missing_or_not_negative(before: Totals, now: Totals) -> None:
    changed = change(before, now)
    assert changed is None or min(changed) >= 0


def test_each_link_has_its_name_speed_and_bytes(tmp_path: Path) -> None:
    sys = plant(
        tmp_path,
        {
            "class/net/eth0/speed": "25000\n", "class/net/eth1/speed": "-1\n",
            "class/infiniband/mlx5_0/ports/1/rate": "400 Gb/sec (4X NDR)\n",
        },
    )  # fmt: skip
    interfaces = Interfaces(dict, sys)
    flows = Links(interfaces.speed, lambda: 0.0).flows({"eth0": (1, 2)}, {"eth1": (9, 9), "eth0": (11, 22)})
    assert flows is not None
    assert (flows.names, flows.speeds) == (("eth0", "eth1"), (25e9 / 8, None))
    assert (flows.received, flows.sent) == ((10.0, None), (20.0, None))
    ports = RdmaPorts(lambda: 0.0, sys)
    assert ports.speed("mlx5_0/1") == 50e9
    assert ports.speed("mlx5_0/2") is None


def test_a_link_whose_total_went_back_has_no_bytes_and_the_others_have() -> None:
    flows = Links(lambda name: None, lambda: 0.0).flows({"a": (5, 5), "b": (5, 5)}, {"a": (4, 6), "b": (6, 7)})
    assert flows is not None
    assert (flows.received, flows.sent) == ((None, 1.0), (None, 2.0))


def test_without_links_there_are_no_flows() -> None:
    assert Links(lambda name: None, lambda: 0.0).flows({}, {}) is None
    assert Links(lambda name: None, lambda: 0.0).flows(None, None) is None


def test_speeds_are_asked_anew_after_a_while_and_when_a_link_comes() -> None:
    now, asked = [0.0], []

    def speed(name: str) -> float | None:
        asked.append(name)
        return None

    links = Links(speed, lambda: now[0])
    for moment, names in ((0.0, "a"), (1.0, "a"), (2.0, "ab"), (40.0, "ab")):
        now[0] = moment
        links.flows(None, dict.fromkeys(names, (0, 0)))
    assert "".join(asked) == "aabab"
