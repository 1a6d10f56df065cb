from __future__ import annotations

import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.clock import FakeClock, SystemClock
from collectors.engine.discover import Discovery, Found
from collectors.engine.endpoints import find_page
from collectors.engine.listeners import Listener
from tests.live_support import plant, plant_process, plant_socket, reply, serving
from tests.making import vllm_page

OWN_PID = 4242


class Machine:
    """Processes and listeners as a test plants them, and a note of every page that was asked for."""

    def __init__(self, proc: Path) -> None:
        self.proc = proc
        self.listeners: list[Listener] = []
        self.pages: set[str] = set()
        self.asked: list[str] = []
        self.clock = FakeClock()
        self.discovery = self.look_out()

    def look_out(self, *, blindly: bool = True) -> Discovery:
        return Discovery(
            lambda found: None,
            self.clock,
            find_page=self.find_page if blindly else None,
            listening=lambda: tuple(self.listeners),
            proc=str(self.proc),
            own_pid=OWN_PID,
        )

    def find_page(self, base: str, paths: Sequence[str]) -> str | None:
        self.asked.append(base)
        return next((base + path for path in paths if base + path in self.pages), None)

    def run(self, pid: int, line: str, *, parent: int = 1, listens: int | None = None, visible: bool = True) -> None:
        plant_process(self.proc, pid, shlex.split(line), parent=parent)
        if listens is not None:
            self.listen(listens, inode=pid * 10)
            if visible:
                plant_socket(self.proc, pid, pid * 10)

    def listen(self, port: int, *, address: str = "127.0.0.1", inode: int = 1) -> None:
        self.listeners.append(Listener(address, port, inode))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_engine_is_found_by_its_socket_with_its_whole_process_tree(machine: Machine) -> None:
    machine.run(10, "python -m vllm.entrypoints.openai.api_server --port 8001", listens=8001)
    machine.run(11, "VLLM::EngineCore", parent=10)
    machine.run(12, "python worker.py", parent=11)
    machine.run(20, "bash")
    assert machine.discovery.scan() == (Found("http://127.0.0.1:8001/metrics", "vllm", 10, frozenset({10, 11, 12})),)
    assert machine.asked == []


def test_the_socket_may_belong_to_a_child(machine: Machine) -> None:
    machine.run(10, "text-generation-launcher --port 3001")
    machine.run(11, "text-generation-router --port 3001", parent=10, listens=3001)
    (found,) = machine.discovery.scan()
    assert (found.root, found.pids) == (10, frozenset({10, 11}))


def test_without_the_right_to_see_sockets_the_port_of_the_command_line_counts(machine: Machine) -> None:
    machine.run(10, "llama-server --port 8102", listens=8102, visible=False)
    machine.run(11, "sglang.launch_server")
    (found,) = machine.discovery.scan()
    assert (found.url, found.engine, found.root) == ("http://127.0.0.1:8102/metrics", "llamacpp", 10)


def test_without_the_right_to_see_sockets_a_default_port_is_asked_first(machine: Machine) -> None:
    machine.run(10, "llama-server", listens=8080, visible=False)
    assert machine.discovery.scan() == ()
    assert machine.asked == ["http://127.0.0.1:8080"]
    machine.pages.add("http://127.0.0.1:8080/metrics")
    machine.clock.advance(61.0)
    (found,) = machine.discovery.scan()
    assert (found.engine, found.root) == ("llamacpp", 10)


def test_an_engine_that_does_not_listen_yet_is_not_listed(machine: Machine) -> None:
    machine.run(10, "vllm serve m --port 8001")
    assert machine.discovery.scan() == ()


def test_an_engine_on_a_port_nobody_names_is_asked_at_its_own_sockets_the_roots_first(machine: Machine) -> None:
    machine.run(10, "vllm serve m")
    machine.run(11, "VLLM::EngineCore", parent=10, listens=50001)
    machine.listen(9123, inode=777)
    plant_socket(machine.proc, 10, 777)
    machine.pages.add("http://127.0.0.1:9123/metrics")
    (found,) = machine.discovery.scan()
    assert (found.url, machine.asked[0]) == ("http://127.0.0.1:9123/metrics", "http://127.0.0.1:9123")


def test_only_a_few_of_an_engines_own_sockets_are_asked(machine: Machine) -> None:
    machine.run(10, "vllm serve m")
    for position in range(30):
        machine.listen(40000 + position, inode=1000 + position)
        plant_socket(machine.proc, 10, 1000 + position, descriptor=position)
    machine.discovery.scan()
    assert len(machine.asked) == 4


def test_the_json_metrics_of_trtllm_are_never_read(machine: Machine) -> None:
    machine.run(10, "trtllm-serve m", listens=8000)
    (found,) = machine.discovery.scan()
    assert found.url == "http://127.0.0.1:8000/prometheus/metrics"
    assert machine.asked == []


def test_an_engine_with_a_certificate_is_asked_over_tls(machine: Machine) -> None:
    machine.run(10, "vllm serve m --ssl-certfile=c.pem --ssl-keyfile k.pem", listens=8000)
    (found,) = machine.discovery.scan()
    assert found.url == "https://127.0.0.1:8000/metrics"


def test_an_address_of_its_own_is_kept(machine: Machine) -> None:
    machine.run(10, "vllm serve m --host fd00::5")
    machine.listen(8000, address="fd00::5", inode=100)
    plant_socket(machine.proc, 10, 100)
    (found,) = machine.discovery.scan()
    assert found.url == "http://[fd00::5]:8000/metrics"


def test_two_engines_of_one_kind_are_two(machine: Machine) -> None:
    machine.run(10, "vllm serve a --port 8001", listens=8001)
    machine.run(11, "vllm serve b --port 8002", listens=8002)
    assert {found.root for found in machine.discovery.scan()} == {10, 11}


def test_a_default_port_behind_which_no_engine_is_seen_is_listed_when_its_page_is_one(machine: Machine) -> None:
    machine.run(10, "docker-proxy", listens=8000)
    machine.run(11, "python serve_embedded.py", listens=30000)
    machine.pages |= {"http://127.0.0.1:30000/metrics"}
    (found,) = machine.discovery.scan()
    assert found == Found("http://127.0.0.1:30000/metrics", None, 11, frozenset({11}))


def test_a_listener_that_is_no_engine_is_asked_ever_less_often(machine: Machine) -> None:
    machine.listen(8080, inode=5)
    times = []
    for second in range(0, 3000, 5):
        before = len(machine.asked)
        machine.discovery.scan()
        if len(machine.asked) > before:
            times.append(second)
        machine.clock.advance(5.0)
    assert times[:5] == [0, 60, 180, 420, 900]
    assert times[-1] - times[-2] == 600


def test_another_listener_on_the_same_port_is_asked_at_once(machine: Machine) -> None:
    machine.listen(8080, inode=5)
    machine.discovery.scan()
    machine.listeners.clear()
    machine.listen(8080, inode=6)
    machine.discovery.scan()
    assert len(machine.asked) == 2


def test_ports_that_are_no_engines_default_are_never_asked(machine: Machine) -> None:
    for port in (22, 80, 443, 5432, 9090):
        machine.listen(port, inode=port)
    machine.discovery.scan()
    assert machine.asked == []


def test_without_leave_to_ask_only_command_lines_count(machine: Machine) -> None:
    machine.run(10, "llama-server", listens=8080)
    machine.listen(8000, inode=5)
    discovery = machine.look_out(blindly=False)
    assert [found.engine for found in discovery.scan()] == ["llamacpp"]
    assert machine.asked == []


def test_an_engine_that_ended_is_not_found_any_more(machine: Machine) -> None:
    machine.run(10, "llama-server --port 8102", listens=8102)
    assert len(machine.discovery.scan()) == 1
    machine.listeners.clear()
    assert machine.discovery.scan() == ()


def test_the_program_itself_is_no_engine(machine: Machine) -> None:
    machine.run(OWN_PID, "vllm serve m --port 8001", listens=8001)
    assert machine.discovery.scan() == ()


@given(
    st.lists(
        st.tuples(st.integers(1, 50), st.integers(0, 50), st.sampled_from(["llama-server", "bash", "vllm serve"]))
    ),
    st.lists(st.integers(1, 65535), max_size=5),
)
def test_any_processes_and_listeners_can_be_looked_at(
    tmp_path_factory: pytest.TempPathFactory, processes: list[tuple[int, int, str]], ports: list[int]
) -> None:
    machine = Machine(tmp_path_factory.mktemp("proc"))
    for pid, parent, line in processes:
        machine.run(pid, line, parent=parent)
    for port in ports:
        machine.listen(port)
    found = machine.discovery.scan()
    assert len({one.url for one in found}) == len(found)


def test_a_real_process_that_looks_like_an_engine_is_found(tmp_path: Path) -> None:
    script = tmp_path / "vllm"
    script.write_text(
        "import socket, sys\n"
        "listening = socket.create_server(('127.0.0.1', 0))\n"
        "print(listening.getsockname()[1], flush=True)\n"
        "sys.stdin.read()\n"
    )
    engine = subprocess.Popen(
        [sys.executable, str(script), "serve", "m"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert engine.stdout is not None
        base = f"http://127.0.0.1:{int(engine.stdout.readline())}"
        discovery = Discovery(
            lambda found: None, SystemClock(), find_page=lambda at, paths: at + paths[0] if at == base else None
        )
        found = {one.url: one for one in discovery.scan()}
        assert found[f"{base}/metrics"] == Found(f"{base}/metrics", "vllm", engine.pid, frozenset({engine.pid}))
    finally:
        engine.communicate("", timeout=30)


def elsewhere(machine: Machine, pid: int, *, port: int, address: str = "0.0.0.0", container: str = "") -> None:
    """Put a process into a network of its own, where somebody listens on a port and whose address is 172.17.0.2."""
    plant(
        machine.proc,
        {
            "self/net/tcp": "sl local_address\n",
            "net/route": f"{GATEWAY}docker0\t{DOCKER}\t00000000\t0001\t0\t0\t0\t0000FFFF\n",
            f"{pid}/net/tcp": "sl local_address\n" + tcp_line(address, port, inode=pid * 10),
            f"{pid}/net/fib_trie": FIB_TRIE,
            f"{pid}/cgroup": f"0::/system.slice/docker-{container}.scope\n" if container else "0::/\n",
        },
    )


GATEWAY = "Iface\neth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n"
DOCKER = "000011AC"
PROXY = "docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 18000"
FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
     +-- 172.17.0.0/16 2 0 2
        |-- 172.17.0.2
           /32 host LOCAL
        |-- 172.17.255.255
           /32 link BROADCAST
"""


def tcp_line(address: str, port: int, inode: int) -> str:
    packed = "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
    return (
        f"   0: {packed}:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 {inode} 1\n"
    )


def hints(machine: Machine) -> list[str]:
    return [f"{one}; {one.remedy}" for one in machine.discovery.unread]


def test_an_engine_in_a_container_is_read_at_its_linked_address(machine: Machine) -> None:
    machine.run(10, "vllm serve m --port 8000")
    elsewhere(machine, 10, port=8000)
    machine.pages.add("http://172.17.0.2:8000/metrics")
    assert machine.discovery.scan() == (Found("http://172.17.0.2:8000/metrics", "vllm", 10, frozenset({10})),)
    assert hints(machine) == []


def test_an_engine_in_a_container_is_read_where_docker_publishes_it(machine: Machine) -> None:
    machine.run(10, "vllm serve m")
    elsewhere(machine, 10, port=8000)
    machine.run(
        11,
        f"/usr/bin/{PROXY} -container-ip 172.17.0.2 -container-port 8000",
        listens=18000,
    )
    machine.pages |= {"http://127.0.0.1:18000/metrics", "http://172.17.0.2:8000/metrics"}
    (found,) = machine.discovery.scan()
    assert (found.url, found.root) == ("http://127.0.0.1:18000/metrics", 10)


def test_what_docker_publishes_from_an_engines_usual_port_is_asked_though_no_engine_is_seen(machine: Machine) -> None:
    machine.run(
        11,
        f"{PROXY} -container-ip 172.17.0.9 -container-port 8000",
        listens=18000,
    )
    machine.pages.add("http://127.0.0.1:18000/metrics")
    (found,) = machine.discovery.scan()
    assert (found.url, found.root, found.pids) == ("http://127.0.0.1:18000/metrics", None, frozenset())


def test_an_engine_in_a_container_that_is_not_linked_is_told_with_its_pid_container_and_port(machine: Machine) -> None:
    machine.run(10, "vllm serve m --port 8000")
    elsewhere(machine, 10, port=8000, container="0123456789ab" + "f" * 52)
    plant(machine.proc, {"net/route": GATEWAY})
    assert machine.discovery.scan() == ()
    assert machine.asked == []  # the same address beyond a gateway is somebody else's
    (hint,) = hints(machine)
    assert hint.startswith(
        "vLLM (pid 10) listens on 172.17.0.2:8000 in the network of container 0123456789ab, which is"
    )
    assert "--engine 127.0.0.1:8000" in hint


def test_an_engine_on_loopback_inside_a_container_cannot_be_reached(machine: Machine) -> None:
    machine.run(10, "llama-server --port 8102")
    elsewhere(machine, 10, port=8102, address="127.0.0.1")
    assert machine.discovery.scan() == ()
    assert machine.asked == []
    assert "on loopback only; start it with --host 0.0.0.0" in hints(machine)[0]


def test_an_engine_in_a_container_that_shows_no_page_names_the_address_to_try(machine: Machine) -> None:
    machine.run(10, "sglang.launch_server --port 30000")
    elsewhere(machine, 10, port=30000)
    assert machine.discovery.scan() == ()
    assert machine.asked == ["http://172.17.0.2:30000"]
    assert hints(machine)[0].endswith("name its page with --engine http://172.17.0.2:30000/metrics")


def test_an_engine_of_another_user_on_a_port_nobody_names_is_told(machine: Machine) -> None:
    machine.run(10, "llama-server -m x", listens=9999, visible=False)
    assert machine.discovery.scan() == ()
    assert machine.asked == []
    (hint,) = hints(machine)
    assert "llama.cpp (pid 10) is another user's" in hint
    assert "run phasetop as root or as that user" in hint


def test_an_engine_without_a_page_is_told_with_the_flag_that_gives_it_one(machine: Machine) -> None:
    machine.run(10, "sglang.launch_server", listens=31000)
    assert machine.discovery.scan() == ()
    assert hints(machine) == [
        "SGLang (pid 10) listens on port 31000, where no engine's metrics page was found;"
        " start it with --enable-metrics, or name its page with --engine URL"
    ]


def test_an_engine_that_only_starts_is_no_trouble_yet(machine: Machine) -> None:
    machine.run(10, "vllm serve m --port 8001")
    plant_socket(machine.proc, 10, 4711)
    machine.discovery.scan()
    (one,) = machine.discovery.unread
    assert one.starting
    assert str(one) == "vLLM (pid 10) does not listen on port 8001 yet"


def test_an_engine_on_a_socket_file_is_told(machine: Machine) -> None:
    machine.run(10, "vllm serve m --uds /run/v.sock", listens=8000)
    assert machine.discovery.scan() == ()
    assert "listens on the socket file /run/v.sock" in hints(machine)[0]


def test_an_engine_that_runs_a_request_for_each_read_is_never_asked(machine: Machine) -> None:
    machine.run(10, "python -m mlc_llm serve m", listens=8000)
    machine.pages.add("http://127.0.0.1:8000/metrics")
    assert machine.discovery.scan() == ()
    assert machine.asked == []
    assert "runs a request for each read" in hints(machine)[0]


@pytest.mark.parametrize("line", ["uvicorn serve:app --port 8008", "python serve.py", "ray::ServeReplica"])
def test_the_server_that_embeds_an_engine_is_found_by_the_engines_worker(machine: Machine, line: str) -> None:
    machine.run(10, line, listens=8008)
    machine.run(11, "VLLM::EngineCore", parent=10, listens=50001)
    machine.pages.add("http://127.0.0.1:8008/metrics")
    (found,) = machine.discovery.scan()
    assert found == Found("http://127.0.0.1:8008/metrics", "vllm", 10, frozenset({10, 11}))
    assert set(machine.asked) <= {"http://127.0.0.1:8008"}


def test_a_worker_without_a_server_is_no_trouble(machine: Machine) -> None:
    machine.run(10, "python offline.py")
    machine.run(11, "VLLM::EngineCore", parent=10)
    plant_socket(machine.proc, 11, 4711)
    assert machine.discovery.scan() == ()
    assert [one.starting for one in machine.discovery.unread] == [True]


def test_a_launcher_script_is_not_in_the_way_of_the_engines_it_starts(machine: Machine) -> None:
    machine.run(10, "bash start-all.sh")
    machine.run(11, "vllm serve a --port 8101", parent=10, listens=8101)
    machine.run(12, "/opt/llama-server --port=8102", parent=10, listens=8102)
    machine.run(13, "python -m sglang.launch_server --port 8103", parent=10, listens=8103)
    found = {one.url: one.engine for one in machine.discovery.scan()}
    assert found == {
        "http://127.0.0.1:8101/metrics": "vllm",
        "http://127.0.0.1:8102/metrics": "llamacpp",
        "http://127.0.0.1:8103/metrics": "sglang",
    }


def test_a_node_of_ray_is_listed_only_when_its_page_is_an_engines(machine: Machine) -> None:
    machine.run(10, "/x/raylet --metrics_export_port=61234")
    machine.run(11, "python agent.py", parent=10, listens=61234)
    assert machine.discovery.scan() == ()
    assert hints(machine) == []
    machine.pages.add("http://127.0.0.1:61234/metrics")
    machine.clock.advance(61.0)
    assert [one.url for one in machine.discovery.scan()] == ["http://127.0.0.1:61234/metrics"]


def test_an_engine_below_a_node_of_ray_is_found_by_itself(machine: Machine) -> None:
    machine.run(10, "/x/raylet --metrics_export_port=61234", listens=61234)
    machine.run(11, "vllm serve m --port 8001", parent=10, listens=8001)
    assert [one.root for one in machine.discovery.scan()] == [11]


def test_the_port_may_stand_in_the_environment(machine: Machine) -> None:
    machine.run(10, "llama-server", listens=8123)
    plant(machine.proc, {"10/environ": "A=b\0LLAMA_ARG_PORT=8123\0SECRET=x\0"})
    (found,) = machine.discovery.scan()
    assert found.url == "http://127.0.0.1:8123/metrics"
    assert machine.asked == []


def test_a_socket_for_ipv6_alone_is_asked_by_ipv6(machine: Machine) -> None:
    machine.run(10, "sglang.launch_server --host ::")
    machine.listeners.append(Listener("::", 30000, 100, v6_only=True))
    plant_socket(machine.proc, 10, 100)
    (found,) = machine.discovery.scan()
    assert found.url == "http://[::1]:30000/metrics"


def test_without_leave_to_ask_nothing_is_told_of_what_is_not_read(machine: Machine) -> None:
    machine.run(10, "llama-server -m x", listens=9999, visible=False)
    discovery = machine.look_out(blindly=False)
    discovery.scan()
    assert discovery.unread == ()


def test_engines_that_come_and_go_are_followed(machine: Machine) -> None:
    assert machine.discovery.scan() == ()
    machine.run(10, "vllm serve a --port 8001", listens=8001)
    assert len(machine.discovery.scan()) == 1
    machine.run(11, "vllm serve b --port 8002", listens=8002)
    assert len(machine.discovery.scan()) == 2
    machine.listeners.pop(0)
    for file in (machine.proc / "10" / "fd").iterdir():
        file.unlink()
    for name in ("cmdline", "stat"):
        (machine.proc / "10" / name).unlink()
    (machine.proc / "10" / "fd").rmdir()
    (machine.proc / "10").rmdir()
    assert [one.root for one in machine.discovery.scan()] == [11]


def test_it_looks_again_and_again_in_a_thread_of_its_own_and_survives_a_bad_look(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.run(10, "llama-server --port 8102", listens=8102)
    looks: list[tuple[Found, ...]] = []
    enough = threading.Event()

    def publish(found: tuple[Found, ...]) -> None:
        looks.append(found)
        if len(looks) == 1:
            raise RuntimeError("whatever")
        enough.set()

    discovery = Discovery(
        publish,
        SystemClock(),
        find_page=None,
        listening=lambda: tuple(machine.listeners),
        proc=str(tmp_path),
        rescan=0.01,
    )
    discovery.start()
    try:
        assert enough.wait(30)
    finally:
        discovery.stop()
    assert [one.engine for one in looks[0]] == ["llamacpp"]


def test_a_page_is_looked_for_with_head_first_and_recognised_by_what_it_says() -> None:
    with serving(reply(vllm_page().encode())) as server:
        assert find_page(server.base, ("/metrics",)) == server.url
        assert [method for method, _, _ in server.requests] == ["HEAD", "GET"]
    with serving(reply(b"go_goroutines 1\n")) as server:
        assert find_page(server.base, ("/metrics",)) is None


def test_an_empty_page_is_an_engines_where_its_server_tells_so() -> None:
    def answering(info: bytes) -> Callable[[object], None]:
        def answer(handler: object) -> None:
            (
                reply(info, headers={"Content-Type": "application/json"})
                if server.requests[-1][1] == "/info"
                else reply(b"")
            )(handler)

        return answer

    told = b'{"model_id": "m", "max_total_tokens": 4096, "max_batch_total_tokens": 90000}'
    with serving(answering(told)) as server:
        assert find_page(server.base, ("/metrics",)) == server.url
    with serving(answering(b'{"model_id": "an-embedder", "max_batch_tokens": 16384}')) as server:
        assert find_page(server.base, ("/metrics",)) is None


def test_a_page_whose_head_is_refused_is_not_read_and_the_next_path_is_tried() -> None:
    page = reply(vllm_page().encode())
    refuse = reply(b"", status="405 Method Not Allowed")

    def trtllm(handler: object) -> None:
        path = server.requests[-1][1]
        (page if path == "/prometheus/metrics" else refuse)(handler)

    with serving(trtllm) as server:
        assert find_page(server.base, ("/metrics", "/prometheus/metrics")) == f"{server.base}/prometheus/metrics"
        assert ("GET", "/metrics") not in [(method, path) for method, path, _ in server.requests]


def test_a_page_that_asks_for_credentials_is_no_fingerprint() -> None:
    with serving(reply(b"", status="401 Unauthorized")) as server:
        assert find_page(server.base, ("/metrics",)) is None
