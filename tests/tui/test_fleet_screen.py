"""The Fleet screen: every size, order, group, search, moment; and a node opened from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from collectors.fleet.heat import HeatMap, Span, packed
from collectors.fleet.model import Node, Snapshot
from collectors.fleet.outliers import findings
from collectors.fleet.watch import FleetState, FleetWatch, Wanted
from collectors.promql import PromProblem
from collectors.sources import SourceStatus
from dashboard.fleet_app import FleetApp
from dashboard.fleet_board import ORDERS, FleetBoard
from dashboard.keymap import problems
from dashboard.palette import ColorMode
from dashboard.screens.fleet import FleetScreen
from dashboard.screens.table import FLEET
from dashboard.state import Deliver
from dashboard.ways import Ways
from dashboard.widgets.axis import axis_columns
from tests.tui.support import KEYS, comes, desk_of, shows
from tests.tui.wave import Wave

NOW = 1_800_000_000.0
STEP = 30.0


def nodes(count: int = 12) -> tuple[Node, ...]:
    found = []
    for n in range(count):
        share = 0.1 + 0.05 * (n % 4)
        found.append(
            Node(
                name=f"node-{n}", labels={"pool": f"pool-{n % 3}"}, settled_age=8.0,
                phases=(share, 0.6, 0.4 - share, 0.0, 0.0), bottlenecks={"memory-bandwidth": 0.9, "compute": 0.1},
                gpus=8, sm=0.5, dram=0.6, watts=4100.0 + n, clock=0.88,
                prompt_rate=1000.0, generated_rate=1500.0 - n, running=20.0, waiting=0.0, kv_cache=0.5,
                ttft=0.4, tpot=0.05, models=("llama-70b" if n % 2 else "qwen-30b",), roles=("both",),
                engine_names=("vllm",), gpu_names=("NVIDIA H100 80GB HBM3",),
            )
        )  # fmt: skip
    return tuple(found)


def state_of(everyone: Sequence[Node], *, columns: int = 120) -> FleetState:
    heat = HeatMap(STEP)
    last = int(NOW // STEP) - 1
    for index in range(last - columns, last + 1):
        heat.put(index, {node.name: packed(0.3, 0.5, 0.0, 0.0) for node in everyone})
    return FleetState(Snapshot(NOW, tuple(everyone)), findings(everyone), heat, last)


def painted(
    board: FleetBoard, width: int, height: int, *, colors: ColorMode = "truecolor", ascii: bool = False
) -> list[str]:
    """The whole screen as lines of text; every cell belongs to one panel."""
    desk = desk_of([], colors=colors, ascii=ascii)
    screen = FleetScreen(desk, FLEET, board)
    arrangement = screen.wanted(width, height)
    scene = desk.scene(arrangement, KEYS)
    desk.columns = axis_columns(scene, width, height)
    grid: list[dict[int, str]] = [{} for _ in range(height)]
    for panel in screen.all_panels:
        place = arrangement.places.get(panel.name or "")
        if place is None:
            continue
        rows = panel.framed(scene, place)
        for y, row in enumerate(rows):
            assert row.cells == place.width, f"{panel.name}, row {y}: {row.cells} cells of {place.width}"
            grid[place.y + y][place.x] = "".join(text for text, _, _ in row.runs)
    return ["".join(row[x] for x in sorted(row)) for row in grid]


def board_of(everyone: Sequence[Node], **options: object) -> FleetBoard:
    board = FleetBoard(where="http://prometheus:9090", scrape_interval=STEP, **options)  # type: ignore[arg-type]
    board.take(state_of(everyone))
    return board


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (20, 5), (24, 8), (40, 12), (60, 16), (80, 24), (120, 40), (200, 50)]
)
@pytest.mark.parametrize("mode", ["table", "heat"])
@pytest.mark.parametrize(("colors", "ascii"), [("truecolor", False), ("16", False), ("mono", False), ("mono", True)])
def test_it_is_drawn_at_every_size(width: int, height: int, mode: str, colors: ColorMode, ascii: bool) -> None:
    board = board_of(nodes(), price=2.0)
    board.mode = mode  # type: ignore[assignment]
    board.group = "pool"
    lines = painted(board, width, height, colors=colors, ascii=ascii)
    assert len(lines) == height
    if ascii:
        assert all(line.isascii() for line in lines)
    if width >= 24 and height >= 8:
        assert any("node" in line or "pool" in line for line in lines)


def test_before_the_first_answer_it_says_that_it_asks() -> None:
    assert any("asking" in line for line in painted(FleetBoard(where="x"), 80, 24))


def test_a_problem_is_told_with_the_age_of_what_is_shown() -> None:
    board = board_of(nodes())
    old = Snapshot(-40.0, board.nodes)  # the test's clock stands at 0
    board.take(replace(board.state, snapshot=old, problem="connection refused", failing_since=NOW))
    text = "\n".join(painted(board, 120, 30))
    assert "connection refused" in text
    assert "40 s old" in text
    assert "node-3" in text, "the last data stay"


def test_a_fleet_without_nodes_asks_whether_the_selector_is_right() -> None:
    board = FleetBoard(where="x", state=FleetState(Snapshot(NOW, ())))
    assert any("--match" in line for line in painted(board, 120, 30))


def test_nodes_that_are_down_have_a_word_instead_of_figures() -> None:
    everyone = [*nodes(4), Node(name="node-x", health="down"), Node(name="node-y", health="gone")]
    text = painted(board_of(everyone), 120, 30)
    assert any("node-x" in line and "down: not scraped" in line for line in text)
    assert any("node-y" in line and "gone" in line for line in text)
    assert any("4 of 6 nodes" in line for line in text)


@pytest.mark.parametrize("order", range(len(ORDERS)))
def test_every_order_lists_every_node_once(order: int) -> None:
    board = board_of([*nodes(), Node(name="bare")])
    board.order = order
    names = [row.node.name for row in board.rows()]
    assert sorted(names) == sorted([*(node.name for node in nodes()), "bare"])
    if order:
        known = [found for row in board.rows() if (found := ORDERS[order].value(row.node)) is not None]
        assert known == sorted(known, reverse=True)


def test_groups_have_a_row_of_their_own_and_can_be_of_any_label() -> None:
    board = board_of(nodes())
    assert board.groups() == ["", "model", "role", "GPU", "health", "pool"]
    board.group_by("pool")
    groups = [row for row in board.rows() if row.is_group]
    assert [(row.node.name, len(row.members)) for row in groups] == [("pool-0", 4), ("pool-1", 4), ("pool-2", 4)]
    with pytest.raises(ValueError, match="no node has a label rack"):
        board.group_by("rack")


def test_a_search_narrows_the_list_and_its_totals() -> None:
    board = board_of(nodes())
    board.searched = "qwen pool-0"
    assert [row.node.name for row in board.rows()] == ["node-0", "node-6"]
    assert board.totals()[0].nodes == 2
    board.searched = "nothing like it"
    assert any("none of 12 nodes" in line for line in painted(board, 120, 30))


def test_a_thousand_nodes_draw_only_the_rows_that_are_seen() -> None:
    board = board_of(nodes(1000))
    board.selected = "node-700"
    lines = painted(board, 120, 40)
    assert sum("node-" in line for line in lines) < 45
    assert any("node-700" in line for line in lines)


def test_the_selected_node_is_followed_when_the_order_changes() -> None:
    board = board_of(nodes())
    board.move(3)
    assert board.selected == "node-3"
    board.order, board.reverse = 8, False
    shown = board.shown()
    assert shown is not None
    assert shown.node.name == "node-3"


def test_the_time_cursor_moves_by_columns_and_comes_back_to_now() -> None:
    board = board_of(nodes())
    board.move_time(-2, NOW)
    assert board.at == NOW - 2 * STEP
    board.move_time(5, NOW)
    assert board.at is None
    board.zoom(-1)
    assert board.wanted() == Wanted(None, 60.0, board.columns)
    board.zoom(0)
    assert board.wanted().step == 0.0


class StillSource:
    """A source whose answers the test holds."""

    scrape_interval = STEP
    has_past = True

    def __init__(self, everyone: Sequence[Node]) -> None:
        self.nodes = tuple(everyone)
        self.looked: list[float | None] = []
        self.problem: str | None = None

    def look(self, at: float | None = None, quantile: float = 0.95) -> Snapshot:
        self.looked.append(at)
        if self.problem is not None:
            raise PromProblem("down", self.problem)
        return Snapshot(at or NOW, self.nodes, quantile=quantile)

    def heat(self, heat: HeatMap, span: Span) -> None:
        for index in range(span.first, span.last + 1):
            heat.put(index, {node.name: packed(0.2, 0.7, 0, 0) for node in self.nodes})

    def close(self) -> None:
        pass


class NodeTicks:
    """The feed of a node that was opened."""

    live = True

    def __init__(self) -> None:
        self.is_stopped = False

    def start(self, deliver: Deliver) -> None:
        for tick in Wave(hot_gpu=None).ticks(30):
            deliver(tick)

    def stop(self) -> None:
        self.is_stopped = True

    def status(self) -> Sequence[SourceStatus]:
        return ()


def app_of(source: StillSource, opened: list[tuple[str, float | None]], ways: Ways | None = None) -> FleetApp:
    def make_watch(take: Callable[[FleetState], None]) -> FleetWatch:
        return FleetWatch(source, take, interval=0.2)

    def open_node(name: str, at: float | None) -> NodeTicks:
        opened.append((name, at))
        return NodeTicks()

    return FleetApp(make_watch, FleetBoard(where="http://prometheus"), open_node, colors="truecolor", ways=ways)


async def test_enter_opens_the_selected_node_and_6_comes_back() -> None:
    opened: list[tuple[str, float | None]] = []
    app = app_of(StillSource(nodes()), opened)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(app, pilot, "node-11")
        await pilot.press("down", "down", "enter")
        await shows(app, pilot, "Verdict")
        assert opened == [("node-2", None)]
        await pilot.press("2")
        await shows(app, pilot, "Processes")
        await pilot.press("6")
        await shows(app, pilot, "what stands out")
        await pilot.press("3")
        await shows(app, pilot, "Engine")
        assert [name for name, _ in opened] == ["node-2", "node-2"]


async def test_keys_sort_group_search_and_look_back() -> None:
    source = StillSource(nodes())
    app = app_of(source, [])
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(app, pilot, "node-11")
        await pilot.press("s", "s", "b")
        lines = await shows(app, pilot, "grouped by model")
        assert any("by prefill" in line for line in lines)
        await pilot.press("slash", "q", "w", "e", "n", "enter")
        await shows(app, pilot, "with qwen")
        await shows(app, pilot, "TPOT p95")
        await pilot.press("t")
        await shows(app, pilot, "TPOT p99")
        await pilot.press("h")
        await shows(app, pilot, "nodes by time")
        await pilot.press("left")
        await comes(pilot, lambda: source.looked[-1] is not None, lambda: "a look at the past")
        await pilot.press("escape")
        await shows(app, pilot, "live")


async def test_a_server_that_goes_away_is_told_and_comes_back() -> None:
    source = StillSource(nodes())
    app = app_of(source, [])
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(app, pilot, "node-11")
        source.problem = "connection refused"
        lines = await shows(app, pilot, "connection refused")
        assert any("node-11" in line for line in lines)
        source.problem = None
        await shows(app, pilot, "● live")


async def test_the_fleets_keys_can_be_others_and_the_help_tells_them() -> None:
    keys = {"fleet.sort": ("x",), "fleet.heat": ("m",), "screen.maximise": ("h",), "screen.fleet": ("z",)}
    assert problems(keys) == []
    app = app_of(StillSource(nodes()), [], ways=Ways(keys=keys))
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(app, pilot, "node-11")
        await pilot.press("x")
        await shows(app, pilot, "by health")
        await pilot.press("s")
        await pilot.press("question_mark")
        lines = await shows(app, pilot, "sort by the next figure")
        assert any(line.strip(" │").startswith("x ") and "sort by the next figure" in line for line in lines)
        await pilot.press("escape", "m")
        await shows(app, pilot, "nodes by time")
        await pilot.press("enter")
        await shows(app, pilot, "z goes back to the fleet")
        await pilot.press("question_mark")
        assert any(
            "back to the fleet" in line and "z " in line for line in await shows(app, pilot, "back to the fleet")
        )
        await pilot.press("escape", "6", "z")
        await shows(app, pilot, "what stands out")


def test_a_key_of_the_fleet_that_is_taken_is_told() -> None:
    assert problems({"fleet.sort": ("b",)}) == [
        ("fleet.sort", "b is the key of fleet.group as well on the screen Fleet")
    ]
    assert problems({"fleet.sorted": ("x",)}) == [
        ("fleet.sorted", "nothing has that name; did you mean fleet.sort?")
    ]  # fmt: skip
