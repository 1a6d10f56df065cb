from __future__ import annotations

from dashboard.state import History, View

from .wave import SECOND, START, Wave

WAVE = Wave(gpus=0, engines=1)
VISIBLE = 60 * SECOND


def view_of(seconds: int) -> View:
    history = History()
    history.extend(WAVE.ticks(seconds))
    return View(history)


def arrive(view: View, first: int, count: int) -> None:
    view.history.extend(WAVE.ticks(count, first=first))


def test_live_the_newest_interval_is_shown() -> None:
    view = view_of(20)
    assert view.shown() == 19
    arrive(view, 20, 5)
    assert view.shown() == 24
    assert view.end() == START + 25 * SECOND


def test_paused_the_view_stands_while_data_keeps_arriving() -> None:
    view = view_of(20)
    view.toggle_pause()
    arrive(view, 20, 5)
    assert view.shown() == 19
    assert view.end() == START + 20 * SECOND
    assert view.behind() == 5
    assert len(view.history) == 25
    view.toggle_pause()
    assert view.shown() == 24


def test_the_cursor_moves_by_intervals_and_holds_the_view() -> None:
    view = view_of(20)
    view.move(-1, VISIBLE)
    view.move(-2, VISIBLE)
    assert view.shown() == 16
    arrive(view, 20, 5)
    assert view.shown() == 16
    assert view.end() == START + 20 * SECOND
    view.follow()
    assert view.shown() == 24


def test_moving_on_past_the_edge_moves_the_edge() -> None:
    view = view_of(20)
    view.move(-1, VISIBLE)
    arrive(view, 20, 5)
    view.move(3, VISIBLE)
    assert view.shown() == 21
    assert view.end() == START + 22 * SECOND


def test_the_cursor_stops_at_both_ends() -> None:
    view = view_of(20)
    view.move(-100, VISIBLE)
    assert view.shown() == 0
    view.move(100, VISIBLE)
    assert view.shown() == 19


def test_the_cursor_takes_the_window_with_it_when_it_leaves_on_the_left() -> None:
    view = view_of(190)
    view.move(-150, VISIBLE)
    end = view.end()
    assert end is not None
    here = START + 40 * SECOND
    assert end - VISIBLE < here <= end
    assert end < START + 190 * SECOND


def test_a_minute_is_a_minute_of_time_also_across_a_gap() -> None:
    view = view_of(260)
    view.move(0, VISIBLE)
    view.move_time(-30, VISIBLE)
    assert view.shown() == 229
    view.move_time(-26, VISIBLE)  # lands in the gap: the last interval before it
    assert view.shown() == 199
    view.move_time(1, VISIBLE)  # a second on is inside the gap: the next interval there is
    assert view.shown() == 206


def test_before_the_first_interval_keys_do_nothing() -> None:
    view = View(History())
    view.toggle_pause()
    view.move(-1, VISIBLE)
    view.move_time(60, VISIBLE)
    assert view.shown() is None
    assert view.end() is None


def test_a_held_edge_that_has_left_memory_stays_at_the_oldest_interval() -> None:
    view = View(History(keep_seconds=300))
    arrive(view, 0, 100)
    view.toggle_pause()
    arrive(view, 300, 900)
    assert view.end() is not None
    assert view.history.tick(view.shown() or 0) is None
