"""Keys of one's own: what they replace, and what is wrong with them.

Every binding has a name (`view.toggle`, `gpus.sort`); the section [tui.keys] of the configuration gives
other keys to it. Loads the screens, so that it is for those who show them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from textual.binding import Binding
from textual.keys import Keys, _character_to_key

from dashboard.screens.keys import ALWAYS, TO_FLEET, frame_keys
from dashboard.screens.table import FLEET, SCREENS, Entry
from dashboard.ways import Keymap

_MODIFIERS = ("ctrl+", "shift+", "alt+", "super+")
_FIXED = {"quit": "ctrl+c"}
"""Keys that stay, whatever is configured: there is always a way out."""
_ARROWS = {"left": "←", "right": "→", "up": "↑", "down": "↓", "escape": "esc"}
CHARACTERS = {_character_to_key(chr(code)): chr(code) for code in range(33, 127)}
"""What is typed for each key that has a name of its own."""
_NAMED = {str(key.value) for key in Keys} | {"space"} | CHARACTERS.keys()


def normal(key: str) -> str:
    """A key as Textual names it: "?" is "question_mark". Raises ValueError for what is no key."""
    modifiers, rest = "", key
    while (found := next((one for one in _MODIFIERS if rest.startswith(one) and rest != one), None)) is not None:
        modifiers, rest = modifiers + found, rest.removeprefix(found)
    if len(rest) == 1 and rest.isprintable():
        return modifiers + ("space" if rest == " " else _character_to_key(rest))
    if key in _NAMED or rest in _NAMED:
        return modifiers + rest
    close = difflib.get_close_matches(rest, sorted(_NAMED), n=1, cutoff=0.7)
    raise ValueError(f'"{key}" is no key{f"; did you mean {modifiers}{close[0]}?" if close else ""}')


def shown(key: str) -> str:
    """A key as the footer and the help write it."""
    first = key.split(",", maxsplit=1)[0]
    modifiers, _, last = first.rpartition("+") if len(first) > 1 else ("", "", first)
    written = _ARROWS.get(last) or CHARACTERS.get(last, last)
    return f"{modifiers}+{written}" if modifiers else written


def remapped(bindings: Sequence[Binding], keymap: Keymap) -> tuple[Binding, ...]:
    """The bindings with the keys configured. A pair ("←→") is shown with both of its keys."""
    if not keymap:
        return tuple(bindings)
    made = [_with_keys(binding, keymap) for binding in bindings]
    for n, (before, after) in enumerate(zip(bindings, made, strict=True)):
        partner = made[n + 1] if n + 1 < len(made) and _is_partner(bindings[n + 1]) else None
        moved = after is not before or (partner is not None and partner is not bindings[n + 1])
        if moved and not _is_partner(before):
            display = shown(after.key) + (shown(partner.key) if partner is not None else "")
            made[n] = replace(after, key_display=display)
    return tuple(made)


def _with_keys(binding: Binding, keymap: Keymap) -> Binding:
    keys = keymap.get(binding.id or "")
    if keys is None:
        return binding
    fixed = _FIXED.get(binding.id or "")
    named = [normal(key) for key in keys]
    return replace(binding, key=",".join([*named, *([fixed] if fixed else [])]), key_display=None)


def _is_partner(binding: Binding) -> bool:
    """Whether it is the other direction of the binding before it, which says for both what they do."""
    return not binding.tooltip and not binding.description


def contexts() -> Iterator[tuple[str, tuple[Binding, ...]]]:
    """All the bindings that are in force at once, for each screen and each thing that is looked at."""
    for one in SCREENS:
        for replay, past in ((False, False), (True, False), (True, True)):
            # The key back to the fleet is there when it came from there; it is kept free at other times.
            yield one.title, (*_own(one), *frame_keys(replay=replay, past=past), TO_FLEET, *ALWAYS)
    yield FLEET.title, (*_own(FLEET), *ALWAYS)


def _own(one: Entry) -> tuple[Binding, ...]:
    return tuple(binding for _, binding in one.load()._merge_bindings())


def problems(keymap: Keymap) -> list[tuple[str, str]]:
    """What is wrong: (name of the binding, why). A key may do two things only where they are never there together."""
    if not keymap:
        return []
    everything = list(contexts())
    known = {binding.id for _, bindings in everything for binding in bindings if binding.id}
    found: dict[str, str] = {}
    valid: dict[str, tuple[str, ...]] = {}
    for name, keys in keymap.items():
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
            found[name] = f"nothing has that name{f'; did you mean {close[0]}?' if close else ''}"
            continue
        try:
            valid[name] = tuple(normal(key) for key in keys)
        except ValueError as problem:
            found[name] = str(problem)
    for title, bindings in everything:
        for name, why in _conflicts(remapped(bindings, valid), valid):
            found.setdefault(name, f"{why} on the screen {title}")
    return list(found.items())


def _conflicts(bindings: Iterable[Binding], keymap: Keymap) -> Iterator[tuple[str, str]]:
    """Keys that do two things, at least one of which is configured."""
    taken: dict[str, Binding] = {}
    for binding in bindings:
        for key in binding.key.split(","):
            other = taken.setdefault(key, binding)
            if other.id == binding.id or not (other.id and binding.id):
                continue  # those without a name are Textual's own, which give way
            mine, its = (binding, other) if binding.id in keymap else (other, binding)
            if mine.id in keymap and mine.id:
                yield mine.id, f"{shown(key)} is the key of {its.id} as well"
