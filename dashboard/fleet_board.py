"""Which nodes the fleet screen lists, in which order and groups, which one is selected, and at which moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from collectors.fleet.heat import step_for
from collectors.fleet.model import QUANTILES, USUAL_QUANTILE, Node
from collectors.fleet.tables import natural
from collectors.fleet.totals import Balance, Totals, balances, combined, totals_of
from collectors.fleet.watch import FleetState, Wanted, zoomed

_UNWELL = {"down": 4, "gone": 3, "stale": 2, "degraded": 1, "ok": 0}


@dataclass(frozen=True, slots=True)
class Order:
    """A way to sort, the largest first. `column` is the heading it belongs to."""

    name: str
    column: str
    value: Callable[[Node], float | None]


ORDERS: tuple[Order, ...] = (
    Order("name", "node", lambda node: None),
    Order("health", "node", lambda node: float(_UNWELL[node.health])),
    Order("prefill", "pre", lambda node: None if node.phases is None else node.phases[0]),
    Order("decode", "dec", lambda node: None if node.phases is None else node.phases[1]),
    Order("idle", "idle", lambda node: None if node.phases is None else node.phases[2] + node.phases[3]),
    Order("host-bound time", "bottleneck", lambda node: node.host_bound),
    Order("SM", "SM", lambda node: node.sm),
    Order("DRAM", "DRAM", lambda node: node.dram),
    Order("power", "kW", lambda node: node.watts),
    Order("clock", "clock", lambda node: node.clock),
    Order("tokens", "tok/s", lambda node: node.generated_rate),
    Order("TTFT", "TTFT", lambda node: node.ttft),
    Order("TPOT", "TPOT", lambda node: node.tpot),
    Order("KV cache", "KV", lambda node: node.kv_cache),
    Order("requests waiting", "wait", lambda node: node.waiting),
)

_FIXED_GROUPS: tuple[tuple[str, Callable[[Node], str]], ...] = (
    ("model", lambda node: node.model or "no engine"),
    ("role", lambda node: node.role or "no engine"),
    ("GPU", lambda node: ", ".join(node.gpu_names) or "no GPU"),
    ("health", lambda node: node.health),
)
_MOST_LABELS = 12
_MOST_VALUES = 200


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the list: a node, or the group that the following nodes are in."""

    node: Node
    members: tuple[Node, ...] = ()

    @property
    def is_group(self) -> bool:
        return bool(self.members)


@dataclass(slots=True)
class FleetBoard:
    """What the fleet screen shows. `price` is that of a GPU hour, in any currency."""

    price: float | None = None
    where: str = ""
    state: FleetState = field(default_factory=FleetState)
    selected: str | None = None
    order: int = 0
    reverse: bool = False
    group: str = ""
    searched: str = ""
    mode: Literal["table", "heat"] = "table"
    at: float | None = None
    """The moment looked at, seconds since 1970; None is now."""
    step: float = 0.0
    columns: int = 0
    quantile: float = USUAL_QUANTILE
    """Of latencies: the one that is wanted."""
    scrape_interval: float = 15.0
    has_past: bool = True
    refresh: float = 10.0
    """Seconds from one look to the next."""
    page: int = 10
    _rows: tuple[object, list[Row]] | None = None
    _totals: tuple[object, Totals, tuple[Balance, ...]] | None = None

    def take(self, state: FleetState) -> None:
        """Something new is known."""
        self.state = state

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.state.snapshot.nodes if self.state.snapshot is not None else ()

    @property
    def sorted_by(self) -> Order:
        return ORDERS[self.order]

    def totals(self) -> tuple[Totals, tuple[Balance, ...]]:
        """Of the nodes that are listed, and the balances of their disaggregated deployments."""
        key = (self.state.snapshot, self.searched)
        if self._totals is None or self._totals[0] != key:
            found = self._found()
            self._totals = (key, totals_of(found, self.price), balances(found))
        return self._totals[1:]

    def rows(self) -> list[Row]:
        """Made anew when something changed, and not at every frame."""
        key = (self.state.snapshot, self.order, self.reverse, self.group, self.searched)
        if self._rows is None or self._rows[0] != key:
            self._rows = (key, self._listed())
        return self._rows[1]

    def groups(self) -> list[str]:
        """What the nodes can be grouped by: the fixed ones, and each label that differs between them."""
        values: dict[str, set[str]] = {}
        for node in self.nodes:
            for name, value in node.labels.items():
                values.setdefault(name, set()).add(value)
        labels = sorted(name for name, found in values.items() if 1 < len(found) <= _MOST_VALUES)
        return ["", *(name for name, _ in _FIXED_GROUPS), *labels[:_MOST_LABELS]]

    def group_next(self) -> None:
        known = self.groups()
        self.group = known[(known.index(self.group) + 1) % len(known)] if self.group in known else ""

    def group_by(self, text: str) -> None:
        """By a label of any name. Raises ValueError with what there is."""
        wanted = text.strip()
        known = self.groups()
        found = next((name for name in known if name.casefold() == wanted.casefold()), None)
        if found is None and not any(wanted in node.labels for node in self.nodes):
            raise ValueError(f"no node has a label {wanted}; there are {', '.join(known[1:])}")
        self.group = wanted if found is None else found

    def sort_next(self, direction: int = 1) -> None:
        self.order = (self.order + direction) % len(ORDERS)

    def group_of(self, node: Node) -> str:
        fixed = dict(_FIXED_GROUPS).get(self.group)
        return fixed(node) if fixed is not None else node.labels.get(self.group) or f"no {self.group}"

    def _found(self) -> list[Node]:
        words = self.searched.casefold().split()
        if not words:
            return list(self.nodes)
        return [node for node in self.nodes if all(word in text for text in (_text(node),) for word in words)]

    def _listed(self) -> list[Row]:
        nodes = self._found()
        if self.order:
            value, sign = self.sorted_by.value, 1 if self.reverse else -1
            known = [(found, node) for node in nodes if (found := value(node)) is not None]
            known.sort(key=lambda pair: sign * pair[0])
            nodes = [node for _, node in known] + [node for node in nodes if value(node) is None]
        elif self.reverse:
            nodes.reverse()
        if not self.group:
            return [Row(node) for node in nodes]
        members: dict[str, list[Node]] = {}
        for node in nodes:
            members.setdefault(self.group_of(node), []).append(node)
        rows = []
        for name in sorted(members, key=natural):
            rows.append(Row(combined(name, members[name]), tuple(members[name])))
            rows += [Row(node) for node in members[name]]
        return rows

    def index(self) -> int:
        """The selected row; the first one where the selected node is not listed."""
        rows = self.rows()
        found = next((n for n, row in enumerate(rows) if row.node.name == self.selected), 0)
        return found if rows else -1

    def shown(self) -> Row | None:
        rows = self.rows()
        return rows[self.index()] if rows else None

    def move(self, by: int) -> None:
        rows = self.rows()
        if rows:
            self.selected = rows[min(max(self.index() + by, 0), len(rows) - 1)].node.name

    def window(self, height: int) -> tuple[int, int]:
        """First row and number of rows to show in that many lines: the selected one is among them."""
        rows = self.rows()
        count = min(len(rows), max(0, height))
        first = min(max(0, self.index() - count // 2), len(rows) - count)
        return max(0, first), count

    def quantile_next(self) -> None:
        self.quantile = QUANTILES[(QUANTILES.index(self.quantile) + 1) % len(QUANTILES)]

    # Time.

    @property
    def usual_step(self) -> float:
        return step_for(self.scrape_interval)

    @property
    def column_step(self) -> float:
        return max(self.step, self.usual_step)

    def wanted(self) -> Wanted:
        return Wanted(self.at, self.step, self.columns, self.quantile)

    def zoom(self, direction: int) -> None:
        self.step = 0.0 if not direction else zoomed(self.column_step, direction, self.usual_step)

    def move_time(self, columns: int, now: float) -> None:
        """So many columns back or on; from now on, back to now."""
        step = self.column_step
        here = self.at if self.at is not None else (now // step) * step
        moment = here + columns * step
        self.at = None if moment >= now else moment

    def look_at(self, moment: float, now: float) -> None:
        self.at = None if moment >= now else moment


def _text(node: Node) -> str:
    told = [node.name, node.health, node.model, node.role, *node.engine_names, *node.gpu_names, node.bottleneck or ""]
    return " ".join([*told, *node.labels.values()]).casefold()
