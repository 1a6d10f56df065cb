"""Pods and containers, told from control groups and from the names of log files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.pods import Pod, Pods, pod_of_groups

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
UID = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
UNDERSCORED = UID.replace("-", "_")
STATIC = "9bf8f1f2b4b1d5f2e6f0a1b2c3d4e5f6"
SLICES = "/kubepods.slice/kubepods-burstable.slice"

SLICE = f"pod{UNDERSCORED}.slice"
GROUPS = {
    "v2, systemd, containerd": (f"0::{SLICES}/kubepods-burstable-{SLICE}/cri-containerd-{ID}.scope", UID),
    "v2, systemd, guaranteed": (f"0::/kubepods.slice/kubepods-{SLICE}/cri-containerd-{ID}.scope", UID),
    "v2, systemd, CRI-O": (f"0::{SLICES}/kubepods-burstable-{SLICE}/crio-{ID}.scope/container", UID),
    "v2, systemd, Docker": (f"0::{SLICES}/kubepods-burstable-{SLICE}/docker-{ID}.scope", UID),
    "v2, cgroupfs": (f"0::/kubepods/besteffort/pod{UID}/{ID}", UID),
    "v2, a kubelet in a slice": (
        f"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-{SLICE}/cri-containerd-{ID}.scope",
        UID,
    ),
    "v2, a group within the container": (f"0::/kubepods/pod{UID}/{ID}/init.scope", UID),
    "v2, seen from another container": (f"0::/../../kubepods-{SLICE}/cri-containerd-{ID}.scope", UID),
    "v2, from a container of the same pod": (f"0::/../cri-containerd-{ID}.scope", None),
    "v1, cgroupfs": (
        f"12:memory:/kubepods/burstable/pod{UID}/{ID}\n1:name=systemd:/kubepods/burstable/pod{UID}/{ID}",
        UID,
    ),
    "v1, systemd": (f"4:cpu,cpuacct:{SLICES}/kubepods-burstable-{SLICE}/docker-{ID}.scope", UID),
    "v1, containerd": (f"4:cpu:/system.slice/containerd.service/kubepods-{SLICE}:cri-containerd:{ID}", UID),
    "a static pod": (f"0::/kubepods/burstable/pod{STATIC}/{ID}", STATIC),
}


@pytest.mark.parametrize(("group", "uid"), GROUPS.values(), ids=list(GROUPS))
def test_the_container_and_the_pod_are_in_the_group_of_every_kubelet(group: str, uid: str | None) -> None:
    assert pod_of_groups(f"{group}\n") == Pod(ID, uid)


@pytest.mark.parametrize(
    "group",
    [
        "0::/",
        "0::/user.slice/user-1000.slice/session-3.scope",
        f"0::/system.slice/docker-{ID}.scope",
        f"0::/docker/{ID}",
        f"0::/kubepods/pod{UID}",
        f"0::/kubepods/pod{UID}/{ID}aa",
        "",
    ],
)
def test_a_process_outside_of_pods_is_in_none(group: str) -> None:
    assert pod_of_groups(group) is None


@given(st.text())
def test_no_text_can_make_it_fail(text: str) -> None:
    pod_of_groups(text)


class Node:
    """A /proc and a directory of log files, with a clock."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.proc, self.logs = folder / "proc", folder / "logs"
        self.logs.mkdir()
        self.pods = Pods(str(self.proc), logs=str(self.logs), clock=lambda: self.now)

    def run(self, pid: int, container_id: str) -> None:
        (self.proc / str(pid)).mkdir(parents=True)
        (self.proc / str(pid) / "cgroup").write_text(f"0::/kubepods/pod{UID}/{container_id}\n")

    def log(self, name: str) -> None:
        (self.logs / name).symlink_to("/nowhere")


def test_names_come_from_the_names_of_log_files_also_where_container_and_pod_have_dashes(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.run(7, ID)
    node.log(f"vllm-7d9-x_team-a_server-main-{ID}.log")
    node.log("something-else.log")
    assert node.pods.of(7) == Pod(ID, UID, "vllm-7d9-x", "team-a", "server-main")


def test_without_log_files_the_pod_has_its_uid_alone(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.logs.rmdir()
    node.run(7, ID)
    assert node.pods.of(7) == Pod(ID, UID)
    assert node.pods.of(8) is None


def test_the_directory_is_listed_anew_for_a_container_that_came_later_and_not_at_every_look(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.run(7, ID)
    assert node.pods.of(7) == Pod(ID, UID)
    node.log(f"pod_namespace_container-{ID}.log")
    node.now = 9.0
    assert node.pods.of(7) == Pod(ID, UID)
    node.now = 10.0
    found = node.pods.of(7)
    assert found is not None
    assert found.name == "pod"
