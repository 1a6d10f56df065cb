from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from collectors.engine.page import (
    LABEL_LIMIT,
    LINE_LIMIT,
    NEW_LINES_LIMIT,
    REMEMBERED_LIMIT,
    PageMemo,
    read_page,
)
from collectors.text import clean

names = st.from_regex(r"[a-z_:][a-z0-9_:]{0,12}", fullmatch=True)
label_names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
label_values = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=12)
numbers = st.floats(allow_nan=False, width=32)


def everything(name: str) -> bool:
    return True


def as_dict(text: str, memo: PageMemo | None = None) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    samples = read_page(text, memo or PageMemo(everything))
    return {(series.name, tuple(sorted(series.labels.items()))): value for series, value in samples}


def reference(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not math.isnan(sample.value)
    }


def escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@given(
    st.dictionaries(
        st.tuples(names, st.dictionaries(label_names, label_values, max_size=3).map(lambda d: tuple(d.items()))),
        numbers,
        max_size=8,
    )
)
def test_every_sample_of_a_page_is_read_back(page: dict[tuple[str, tuple[tuple[str, str], ...]], float]) -> None:
    lines = []
    for (name, labels), value in page.items():
        inside = ",".join(f'{k}="{escaped(v)}"' for k, v in labels)
        lines.append(f"{name}{{{inside}}} {value!r}" if labels else f"{name} {value!r}")
    expected = {(name, tuple(sorted(labels))): value for (name, labels), value in page.items()}
    assert as_dict("\n".join(lines)) == expected


@given(st.text(max_size=200))
@settings(max_examples=300)
def test_no_text_whatever_makes_the_reader_fail(text: str) -> None:
    for _, value in read_page(text, PageMemo(everything)):
        assert not math.isnan(value)


def test_a_second_reading_gives_the_same_series_objects_with_new_values() -> None:
    memo = PageMemo(everything)
    first = read_page('a{x="1"} 1\nb 2', memo)
    second = read_page('a{x="1"} 3\nb 4', memo)
    assert [series for series, _ in first] == [series for series, _ in second]
    assert [value for _, value in second] == [3.0, 4.0]


def test_unwanted_families_are_left_out() -> None:
    memo = PageMemo(lambda name: name == "a")
    assert [series.name for series, _ in read_page("a 1\nb 2\na_created 3", memo)] == ["a"]


def test_nan_means_no_value_and_infinity_stays() -> None:
    assert as_dict("a NaN\nb +Inf\nc -nan") == {("b", ()): math.inf}


def test_time_stamps_and_exemplars_are_passed_over() -> None:
    text = 'a{x="1"} 5 1700000000000\nb_bucket{le="1"} 7 # {trace_id="x y"} 0.5 1700000000\n# EOF'
    assert as_dict(text) == {("a", (("x", "1"),)): 5.0, ("b_bucket", (("le", "1"),)): 7.0}


def test_label_values_may_hold_braces_commas_spaces_and_escapes() -> None:
    text = 'a{p="x} 1, y",q="say \\"hi\\" \\\\n"} 2'
    assert as_dict(text) == {("a", (("p", "x} 1, y"), ("q", 'say "hi" \\n'))): 2.0}


def test_terminal_escapes_in_label_values_do_not_pass() -> None:
    ((series, _),) = read_page('a{model="\x1b[2Jx"} 1', PageMemo(everything))
    assert series.labels["model"].isprintable()


def test_a_page_whose_lines_never_repeat_does_not_grow_the_memo_without_end() -> None:
    memo = PageMemo(everything)
    step = NEW_LINES_LIMIT // 3
    for start in range(0, 2 * NEW_LINES_LIMIT, step):
        read_page("\n".join(f'a{{t="{start + i}"}} 1' for i in range(step)), memo)
    assert len(memo._by_key) <= NEW_LINES_LIMIT


def test_a_page_whose_series_all_change_keeps_those_of_the_last_page_and_no_more() -> None:
    memo = PageMemo(everything)
    step = NEW_LINES_LIMIT * 3 // 4
    for start in range(0, 3 * NEW_LINES_LIMIT, step):
        page = "always 1\n" + "\n".join(f'a{{t="{start + i}"}} 1' for i in range(step))
        always = read_page(page, memo)[0][0]
        assert always is read_page(page, memo)[0][0]
    assert len(memo._by_identity) <= 2 * NEW_LINES_LIMIT


def test_a_page_of_endless_new_lines_is_read_so_far_and_no_farther() -> None:
    page = "\n".join(f'a{{t="{i}"}} 1' for i in range(NEW_LINES_LIMIT + 500))
    assert len(read_page(page, PageMemo(everything))) == NEW_LINES_LIMIT


def test_a_line_that_is_too_long_or_has_too_many_labels_is_passed_over() -> None:
    long_value = "x" * LINE_LIMIT
    many_labels = ",".join(f'l{i}="1"' for i in range(LABEL_LIMIT + 1))
    memo = PageMemo(everything)
    assert as_dict(f'a{{v="{long_value}"}} 1\nb{{{many_labels}}} 2\n# {long_value} x\nc 3', memo) == {("c", ()): 3.0}
    assert sum(map(len, memo._by_key)) < 100


def test_what_is_remembered_of_lines_is_bounded_by_its_size_too() -> None:
    memo = PageMemo(everything)
    for start in range(4):
        read_page("\n".join(f'a{{t="{start}-{i}-{"y" * 2_000}"}} 1' for i in range(2_000)), memo)
        assert sum(map(len, memo._by_key)) <= REMEMBERED_LIMIT + LINE_LIMIT


def test_separators_of_other_kinds_do_not_end_a_line() -> None:
    ((series, value),) = read_page('a{m="x\u2028y"} 1\r\n', PageMemo(everything))
    assert (series.name, value) == ("a", 1.0)


def test_a_label_without_end_is_given_up_at_its_limit() -> None:
    memo = PageMemo(everything)
    assert as_dict(f'a{{m="{"x" * 1_000_000}"}} 1\nb{{m="{chr(92) * 999_999}"}} 2\nc 3', memo) == {("c", ()): 3.0}


def pages() -> list[Path]:
    root = os.environ.get("PHASETOP_TEST_DATA")
    return sorted(Path(root, "expositions").glob("*.prom")) if root else []


@pytest.mark.skipif(not pages(), reason="PHASETOP_TEST_DATA is not set: no recorded pages here")
def test_recorded_pages_read_as_the_reference_parser_reads_them() -> None:
    compared = 0
    for path in pages():
        text = path.read_text(encoding="utf-8", errors="replace")
        try:
            expected = reference(text)
        except ValueError:
            continue  # pages that are not valid exposition text; the reference gives up on them
        mine = as_dict(text)
        cleaned = {key: value for key, value in mine.items() if key in expected}
        assert cleaned == {key: value for key, value in expected.items() if key in mine}, path.name
        assert len(mine) >= 0.98 * len(expected), path.name
        compared += 1
    assert compared >= 20


@pytest.mark.skipif(not pages(), reason="PHASETOP_TEST_DATA is not set: no recorded pages here")
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_parts_of_recorded_pages_in_any_order_and_with_any_values_read_as_the_reference_reads_them(
    data: st.DataObject,
) -> None:
    text = data.draw(st.sampled_from(pages())).read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if not lines:
        return
    start = data.draw(st.integers(0, len(lines) - 1))
    picked = data.draw(st.permutations(lines[start : start + 12]))
    values = st.one_of(
        st.just("NaN"), st.just("+Inf"), st.just("-Inf"), numbers.map(repr), st.integers(0, 10**18).map(str)
    )
    changed = [f"{line.rpartition(' ')[0]} {data.draw(values)}" for line in picked]
    memo = PageMemo(everything)
    for page in ("\n".join(picked), "\n".join(changed)):
        try:
            expected = reference(page + "\n")
        except ValueError:
            continue
        assert as_dict(page, memo) == {
            (name, tuple((key, cleaned(value)) for key, value in labels)): value
            for (name, labels), value in expected.items()
        }


def cleaned(value: str) -> str:
    return clean(value, 200)
