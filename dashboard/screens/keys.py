"""The key bindings: the one table the screens, the footer and the help are made from."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding

COMMON = (
    Binding("1", "app.overview", "Overview", id="screen.overview", tooltip="the Overview"),
    Binding("left", "app.step(-1)", "inspect", key_display="←→", id="view.back", tooltip="one interval back or on"),
    Binding("right", "app.step(1)", "", show=False, id="view.on"),
    Binding("shift+left", "app.page(-1)", "a minute", show=False, key_display="shift+←→", id="view.page_back",
            tooltip="a minute back or on"),
    Binding("shift+right", "app.page(1)", "", show=False, id="view.page_on"),
)  # fmt: skip
LIVE = (
    COMMON[0],
    Binding("space", "app.hold", "pause", id="view.toggle", tooltip="hold the view; data keeps arriving"),
    *COMMON[1:],
    Binding("escape,end", "app.live", "now", show=False, key_display="esc", id="view.live", tooltip="back to now"),
    Binding("g", "app.go_to", "go to", id="view.go_to", tooltip="go to a time: 03:12, 10m ago, 2026-05-01T03:12"),
)  # fmt: skip
REPLAY = (
    COMMON[0],
    Binding("space", "app.hold", "play", id="view.toggle", tooltip="play and stop"),
    *COMMON[1:],
    Binding("plus,equals_sign", "app.speed(1)", "speed", key_display="+-", id="replay.faster",
            tooltip="faster, slower"),
    Binding("minus", "app.speed(-1)", "", show=False, id="replay.slower"),
    Binding("left_square_bracket", "app.jump_phase(-1)", "phase", key_display="[]", id="replay.phase_back",
            tooltip="to the phase change before, after"),
    Binding("right_square_bracket", "app.jump_phase(1)", "", show=False, id="replay.phase_on"),
    Binding("left_curly_bracket", "app.jump_event(-1)", "event", key_display="{}", id="replay.event_back",
            tooltip="to the event before, after"),
    Binding("right_curly_bracket", "app.jump_event(1)", "", show=False, id="replay.event_on"),
    Binding("g", "app.go_to", "go to", id="view.go_to", tooltip="go to a time: 03:12, 10m ago, 2026-05-01T03:12"),
    Binding("e,end", "app.live", "end", key_display="e", id="replay.end", tooltip="to the end, and follow it"),
)  # fmt: skip
ALWAYS = (
    Binding("question_mark", "app.help", "help", key_display="?", id="help", tooltip="this help"),
    Binding("q,ctrl+c", "app.quit", "quit", key_display="q", id="quit", tooltip="quit, at once", priority=True),
)


def footer_keys(bindings: Sequence[Binding]) -> list[tuple[str, str]]:
    """What the last line shows: (key, word)."""
    return [(shown_key(binding), binding.description) for binding in bindings if binding.show]


def help_keys(bindings: Sequence[Binding]) -> list[tuple[str, str]]:
    """What the help shows: (key, what it does)."""
    return [(shown_key(binding), binding.tooltip or binding.description) for binding in bindings if binding.tooltip]


def shown_key(binding: Binding) -> str:
    return binding.key_display or binding.key
