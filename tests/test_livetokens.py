"""llama.cpp's generated tokens: as they are made, and exact whenever it rests."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.engine.reading import engine_reading, new_memo, snapshots
from tests.making import ENDPOINT


class Server:
    """A llama-server that counts as the real one: slots, batches, and tokens of ended requests."""

    def __init__(self) -> None:
        self.ended = self.batches = self.slots = self.prompt = 0
        self.running: list[int] = []
        self.generated = 0

    def begin(self, prompt: int) -> None:
        """One request's prompt, computed in batches beside the tokens of others; the last makes its first token."""
        batches = math.ceil(prompt / 2048)
        self.decode(batches)
        self.running.append(1)
        self.prompt += prompt
        self.slots += batches
        self.generated += 1

    def decode(self, steps: int) -> None:
        self.batches += steps
        self.slots += steps * len(self.running)
        self.generated += steps * len(self.running)
        self.running = [tokens + steps for tokens in self.running]

    def end(self) -> None:
        self.ended += self.running.pop(0)

    def page(self) -> str:
        busy = self.slots / self.batches if self.batches else 0.0
        counts = {
            "prompt_tokens_total": self.prompt,
            "tokens_predicted_total": self.ended,
            "n_decode_total": self.batches,
            "n_busy_slots_per_decode": busy,
            "requests_processing": len(self.running),
        }
        return "".join(f"llamacpp:{name} {value:g}\n" for name, value in counts.items())


class Watched:
    """Amounts of generated tokens from one page to the next."""

    def __init__(self, server: Server) -> None:
        self.server, self.memo = server, new_memo()
        (self.before,) = snapshots(ENDPOINT, server.page(), 0.0, self.memo)

    def tokens(self) -> float | None:
        (now,) = snapshots(ENDPOINT, self.server.page(), self.before.arrived + 1, self.memo)
        got = engine_reading(self.before, now, end=now.arrived)
        self.before = now
        assert got.late_fields is None
        return got.generation_tokens


def test_tokens_are_told_while_they_are_made_and_not_when_the_request_ends() -> None:
    server = Server()
    watched = Watched(server)
    server.begin(20)
    server.decode(99)
    assert watched.tokens() == pytest.approx(99, abs=2)
    server.decode(100)
    assert watched.tokens() == pytest.approx(100, abs=0.01)
    server.end()
    assert watched.tokens() == pytest.approx(1, abs=2)  # what was taken for the prompt's batch
    assert watched.tokens() == 0


def test_a_prompts_batches_are_no_tokens() -> None:
    server = Server()
    watched = Watched(server)
    for _ in range(3):
        server.begin(6000)
        assert watched.tokens() == 0
        server.end()
        assert watched.tokens() == 1


moves = st.one_of(
    st.tuples(st.just("begin"), st.integers(1, 9000)),
    st.tuples(st.just("decode"), st.integers(1, 300)),
    st.tuples(st.just("end"), st.just(0)),
    st.tuples(st.just("look"), st.just(0)),
)


@given(st.lists(moves, max_size=40))
def test_the_sum_is_exact_at_rest_and_never_falls(script: list[tuple[str, int]]) -> None:
    server = Server()
    watched = Watched(server)
    told = 0.0
    for move, size in script:
        if move == "begin" and len(server.running) < 4:
            server.begin(size)
        elif move == "decode" and server.running:
            server.decode(size)
        elif move == "end" and server.running:
            server.end()
        elif move == "look":
            amount = watched.tokens()
            assert amount is not None
            assert amount >= 0
            told += amount
    while server.running:
        server.end()
    told += watched.tokens() or 0.0
    assert told == pytest.approx(server.generated, abs=1)


def test_a_restart_is_missing_and_counting_goes_on_from_the_new_servers_zero() -> None:
    server = Server()
    server.begin(100)
    server.decode(500)
    server.end()
    watched = Watched(server)
    watched.server = Server()
    assert watched.tokens() is None
    watched.server.begin(10)
    watched.server.decode(10)
    assert watched.tokens() == pytest.approx(10, abs=2)


def test_a_page_without_the_counts_for_it_falls_back_to_ended_requests() -> None:
    memo = new_memo()
    page = "llamacpp:tokens_predicted_total {}\nllamacpp:requests_processing 1\nllamacpp:n_busy_slots_per_decode -nan\n"
    (before,) = snapshots(ENDPOINT, page.format(3), 0.0, memo)
    (after,) = snapshots(ENDPOINT, page.format(10), 1.0, memo)
    got = engine_reading(before, after, end=1.0)
    assert (got.generation_tokens, got.late_fields) == (7, "generation_tokens")
