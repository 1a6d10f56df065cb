from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.text import clean, masked


@given(st.text(), st.integers(2, 50))
def test_cleaned_text_is_printable_and_short(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert cleaned.isprintable()
    assert len(cleaned) <= limit


@given(st.binary())
def test_any_bytes_become_printable_text(raw: bytes) -> None:
    assert clean(raw).isprintable()


@pytest.mark.parametrize(
    "hostile", ["\x1b]0;title\x07", "\x1b[2J", "a\nb", "\u202eevil", "a\u200bb", "\x9b31m", "a\0b"]
)
def test_escapes_and_overrides_do_not_pass(hostile: str) -> None:
    assert not set(clean(hostile)) & set("\x1b\x07\n\u202e\u200b\x9b\0")


def test_ordinary_names_pass_unchanged() -> None:
    assert clean("meta-llama/Llama-3.1-70B [bold]") == "meta-llama/Llama-3.1-70B [bold]"


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("vllm serve --api-key sk-12345 --port 8000", "sk-12345"),
        ("llama-server --api-key=sk-12345", "sk-12345"),
        ("HF_TOKEN=hf_abc vllm", "hf_abc"),
        ("curl -H 'Authorization: Bearer abc.def'", "abc.def"),
        ("http://user:hunter2@host/metrics", "hunter2"),
        ("--password 'two words' --x", "two words"),
    ],
)
def test_secrets_in_command_lines_are_masked(line: str, secret: str) -> None:
    assert secret not in masked(line)
    assert "***" in masked(line)


def test_options_that_only_sound_secret_stay_readable() -> None:
    line = "vllm serve --max-num-batched-tokens 2048 --tokenizer gpt2 --port 8000"
    assert masked(line) == line
