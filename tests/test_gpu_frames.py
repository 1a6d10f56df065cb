from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.gpu.frames import HEADER, LIMIT, Decoder, FrameError, encode

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)
MESSAGES = st.dictionaries(st.text(), VALUES, max_size=6)


@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(1, 9), min_size=1))
def test_messages_come_out_as_they_went_in_however_the_bytes_are_cut(
    messages: list[dict[str, object]], pieces: list[int]
) -> None:
    stream = b"".join(encode(message) for message in messages)
    decoder, received, at, turn = Decoder(), [], 0, 0
    while at < len(stream):
        size = pieces[turn % len(pieces)]
        received += decoder.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert received == messages


@given(st.binary(max_size=200))
def test_any_bytes_give_messages_or_a_frame_error(data: bytes) -> None:
    try:
        messages = Decoder().feed(data)
    except FrameError:
        return
    assert all(isinstance(message, dict) for message in messages)


def test_a_claimed_length_over_the_limit_is_refused_before_it_is_collected() -> None:
    with pytest.raises(FrameError, match="limit"):
        Decoder().feed((LIMIT + 1).to_bytes(HEADER, "big"))


def test_a_message_over_the_limit_is_not_sent() -> None:
    with pytest.raises(FrameError, match="limit"):
        encode({"text": "x" * LIMIT})


@pytest.mark.parametrize("payload", [b"[1]", b"7", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_frame_that_holds_no_object_is_an_error(payload: bytes) -> None:
    with pytest.raises(FrameError):
        Decoder().feed(len(payload).to_bytes(HEADER, "big") + payload)


def test_a_number_that_is_none_is_never_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode({"value": float("nan")})


def test_the_payload_is_plain_json() -> None:
    assert json.loads(encode({"a": [1, None]})[HEADER:]) == {"a": [1, None]}
