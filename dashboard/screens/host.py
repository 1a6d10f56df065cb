"""The Host screen: its CPUs one by one, memory, limits, pressure, network, and the engines' processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from collectors.model import HOST
from collectors.readings import HostReading
from dashboard.frames import Arrangement, Facts, Rows, Shelf, is_framed, is_tiny, rows_for_panels, tiny
from dashboard.scene import Scene
from dashboard.screens.base import Dashboard
from dashboard.widgets.cores import CoresPanel, rows_needed
from dashboard.widgets.engine_threads import EngineThreadsPanel
from dashboard.widgets.history import HistoryPanel, TimeLine, memory, quantity, ratio
from dashboard.widgets.line import Line
from dashboard.widgets.links import LinksPanel, link_count
from dashboard.widgets.machine import MachinePanel
from dashboard.widgets.panel import Panel
from dashboard.widgets.phase import PhasePanel

_PAIRED, _WIDE = 76, 160
"""Columns from which two and three panels stand side by side."""
_MACHINE, _LINKS = 48, 66
_MOST_CORE_ROWS = 12


class HostHistory(HistoryPanel):
    """What the machine did, on the axis of all screens."""

    def title(self, scene: Scene) -> Line:
        return Line().add("History", scene.palette.dim)

    def lines(self, scene: Scene) -> Sequence[TimeLine]:
        host = None if scene.tick is None else scene.tick.interval.host
        total = None if host is None else host.memory_total_bytes
        lines = [ratio("CPU", HOST, "cpu", "busy")]
        if host is not None and host.cpu_quota_cores is not None:
            lines.append(ratio("held", HOST, "throttled", "of time"))
        lines += [
            ratio("CPU PSI", HOST, "cpu_pressure", "waited"),
            memory("memory", HOST, "memory", total),
            quantity("net rx", HOST, "network_in", "B/s"),
            quantity("net tx", HOST, "network_out", "B/s"),
        ]
        if host is not None and host.rdma_receive_bytes is not None:
            lines += [quantity("RDMA rx", HOST, "rdma_in", "B/s"), quantity("RDMA tx", HOST, "rdma_out", "B/s")]
        lines += [
            ratio("mem PSI", HOST, "memory_pressure", "waited"),
            ratio("io PSI", HOST, "io_pressure", "waited"),
            quantity("disk rd", HOST, "disk_read", "B/s"),
            quantity("disk wr", HOST, "disk_write", "B/s"),
        ]
        return lines


class HostScreen(Dashboard):
    """Whether the machine around the GPUs holds them back."""

    def panels(self) -> tuple[Panel, ...]:
        return (
            PhasePanel("phase"), CoresPanel("cores"), HostHistory("history"), MachinePanel("machine"),
            LinksPanel("links"), EngineThreadsPanel("processes"),
        )  # fmt: skip

    def lay_out(self, width: int, height: int, facts: Facts) -> Arrangement:
        if is_tiny(width, height):
            return tiny(width, height, ("cores",))
        rows = Rows(rows_for_panels(width, height, replay=facts.replay))
        host = self._newest()
        inner = width - (4 if is_framed(width, height) else 0)
        cores = min(_MOST_CORE_ROWS, rows_needed(host, inner))
        spread = "wide" if width >= _WIDE else "paired" if width >= _PAIRED else "stacked"
        for name, target in _wishes(cores, link_count(host), facts, spread):
            rows.grant(name, target)
        shelves = [Shelf(rows[name], ((name, 0),)) for name in ("phase", "cores", "history") if rows[name]]
        machine = min(_MACHINE, width // 2)
        if spread == "wide" and rows["machine"]:
            shelves.append(Shelf(rows["machine"], (("machine", machine), ("links", _LINKS), ("processes", 0))))
        elif spread == "paired" and rows["machine"]:
            shelves.append(Shelf(rows["machine"], (("machine", machine), ("links", 0))))
        else:
            shelves += [Shelf(rows[name], ((name, 0),)) for name in ("machine", "links") if rows[name]]
        if rows["processes"]:
            shelves.append(Shelf(rows["processes"], (("processes", 0),)))
        return replace(self.on_shelves(width, height, facts, shelves), strip=max(1, rows["phase"]))

    def lay_out_alone(self, name: str, width: int, height: int, facts: Facts) -> Arrangement:
        alone = super().lay_out_alone(name, width, height, facts)
        place = alone.places.get(name)
        if name != "phase" or place is None or is_tiny(width, height):
            return alone
        return replace(alone, strip=max(1, place.inside.height - 2), axis=True, events=True)

    def _newest(self) -> HostReading | None:
        """The newest interval decides the layout, so that a look back moves nothing."""
        newest = self.desk.history.newest
        return None if newest is None else newest.interval.host


def _wishes(cores: int, links: int, facts: Facts, spread: str) -> list[tuple[str, int]]:
    """(what, rows it would like), most important first. Beside each other, panels share the rows of one."""
    processes = 3 if facts.engines else 1
    few: list[tuple[str, int]] = [("machine", 5), ("history", 4)]
    if spread == "stacked":
        few.append(("links", 1 + max(1, min(links, 4))))
    many: list[tuple[str, int]] = []
    if spread != "wide":
        few.append(("processes", processes))
        many = [("processes", min(8, processes + 2 * facts.engines))]
    return [
        ("cores", min(cores, 2)), ("machine", 3), ("history", 3), *few, ("history", 6), ("machine", 8),
        ("cores", cores), *many, ("history", 8), ("phase", 2), ("machine", 10), ("history", 10), ("phase", 4),
        ("machine", max(10, min(20, 1 + links))), ("history", 13), ("phase", 6), ("history", 22),
        *(("phase", strip) for strip in range(7, 24)),
    ]  # fmt: skip
