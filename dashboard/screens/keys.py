"""The key bindings: the one table the screens, the footer and the help are made from."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding

from dashboard.screens.table import SCREENS

_TABS = tuple(
    Binding(one.key, f"app.show('{one.name}')", one.title, show=False, id=f"screen.{one.name}", tooltip=one.help)
    for one in SCREENS
)
_MOVING = (
    Binding("left", "app.step(-1)", "inspect", key_display="←→", id="view.back", tooltip="one interval back or on"),
    Binding("right", "app.step(1)", "", show=False, id="view.on"),
    Binding("shift+left", "app.page(-1)", "a minute", show=False, key_display="shift+←→", id="view.page_back",
            tooltip="a minute back or on"),
    Binding("shift+right", "app.page(1)", "", show=False, id="view.page_on"),
    Binding("g", "app.go_to", "go to", id="view.go_to", tooltip="go to a time: 03:12, 10m ago, 2026-05-01T03:12"),
    Binding("plus,equals_sign", "app.zoom(1)", "zoom", key_display="+-", id="view.zoom_in",
            tooltip="closer, down to 10 s, and away, up to all there is; the wheel too"),
    Binding("minus", "app.zoom(-1)", "", show=False, id="view.zoom_out"),
    Binding("0", "app.zoom(0)", "", show=False, id="view.zoom_usual", tooltip="the usual zoom"),
    Binding("comma", "app.pan(-1)", "", show=False, key_display=", .", id="view.pan_back",
            tooltip="move the window back or on; shift and the wheel too"),
    Binding("full_stop", "app.pan(1)", "", show=False, id="view.pan_on"),
    Binding("left_square_bracket", "app.jump_phase(-1)", "phase", key_display="[]", id="view.phase_back",
            tooltip="to the phase change before, after"),
    Binding("right_square_bracket", "app.jump_phase(1)", "", show=False, id="view.phase_on"),
    Binding("left_curly_bracket", "app.jump_event(-1)", "event", key_display="{}", id="view.event_back",
            tooltip="to the event before, after"),
    Binding("right_curly_bracket", "app.jump_event(1)", "", show=False, id="view.event_on"),
    Binding("left_parenthesis", "app.jump_gap(-1)", "", show=False, key_display="( )", id="view.gap_back",
            tooltip="to the gap before, after"),
    Binding("right_parenthesis", "app.jump_gap(1)", "", show=False, id="view.gap_on"),
    Binding("grave_accent", "app.mark", "", show=False, key_display="`", id="mark",
            tooltip="mark the interval looked at, or take its mark away"),
    Binding("apostrophe", "app.jump_mark", "", show=False, key_display="'", id="mark.next", tooltip="to the next mark"),
    Binding("A", "app.edge('A')", "", show=False, key_display="A B", id="range.begin",
            tooltip="the ends of a range; at B what went on in it is summed up"),
    Binding("B", "app.edge('B')", "", show=False, id="range.end"),
)  # fmt: skip
_DOING = (
    Binding("m", "app.maximise", "", show=False, id="screen.maximise", tooltip="one panel alone, the next one, all"),
    Binding("y", "app.copy", "", show=False, id="copy", tooltip="copy the interval looked at as JSON"),
    Binding("p,S", "app.picture", "", show=False, key_display="p", id="picture", tooltip="save a picture (SVG)"),
)
LIVE = (
    Binding("space", "app.hold", "pause", id="view.toggle", tooltip="hold the view; data keeps arriving"),
    *_MOVING,
    Binding("escape,end", "app.live", "now", show=False, key_display="esc", id="view.live", tooltip="back to now"),
    *_DOING,
    Binding("N", "app.note", "", show=False, id="note", tooltip="add a note to the recording"),
)
REPLAY = (
    Binding("space", "app.hold", "play", id="view.toggle", tooltip="play and stop"),
    *_MOVING,
    Binding("greater_than_sign", "app.speed(1)", "speed", key_display="<>", id="replay.faster",
            tooltip="slower, faster"),
    Binding("less_than_sign", "app.speed(-1)", "", show=False, id="replay.slower"),
    Binding("e,end", "app.live", "end", key_display="e", id="replay.end", tooltip="to the end, and follow it"),
    Binding("escape", "app.restore", "", show=False, id="screen.restore", tooltip="all panels again"),
    *_DOING,
)  # fmt: skip
PAST = (
    *(binding for binding in REPLAY if binding.id not in ("replay.end", "screen.restore")),
    Binding("escape,e,end", "app.live", "now", key_display="esc", id="view.live", tooltip="back to now"),
)
"""Of a live session that looks at what was recorded before it."""
ALWAYS: tuple[Binding, ...] = (
    Binding("colon,ctrl+p", "app.commands", "", show=False, key_display=":", id="commands",
            tooltip="every command, by its name"),
    Binding("T", "app.theme", "", show=False, id="theme", tooltip="the next theme: dark, light, high-contrast, ansi"),
    Binding("question_mark", "app.help", "help", key_display="?", id="help", tooltip="this help"),
    Binding("q,ctrl+c", "app.quit", "quit", key_display="q", id="quit", tooltip="quit, at once", priority=True),
)  # fmt: skip
TO_FLEET = Binding("6,backspace", "app.fleet", "fleet", key_display="6", id="screen.fleet", tooltip="back to the fleet")
"""On the screens of a node that was opened from the fleet."""


def frame_keys(*, replay: bool, past: bool = False) -> tuple[Binding, ...]:
    """The keys that every screen has; with `past`, in the recorded past of a live session."""
    return (*_TABS, *(PAST if past else REPLAY if replay else LIVE))


def footer_keys(bindings: Sequence[Binding]) -> list[tuple[str, str]]:
    """What the last line shows: (key, word)."""
    return [(shown_key(binding), binding.description) for binding in bindings if binding.show]


def help_keys(bindings: Sequence[Binding]) -> list[tuple[str, str]]:
    """What the help shows: (key, what it does)."""
    return [(shown_key(binding), binding.tooltip or binding.description) for binding in bindings if binding.tooltip]


def shown_key(binding: Binding) -> str:
    return binding.key_display or binding.key
