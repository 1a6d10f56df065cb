"""`phasetop config check|show|path|keys|hash`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from dashboard.commands.common import CommandFailed, UsageError, config_argument, configuration
from dashboard.config import Loaded, standard_files
from dashboard.config_schema import KINDS, SECTIONS


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=("check", "show", "path", "keys", "hash"),
        help="check: say all that is wrong; show: what is in force and who set it; path: which files are read; "
        "keys: what the screens' keys do, by the names for [tui.keys]; "
        "hash: ask for a password and print its hash for server.basic_auth_file",
    )
    config_argument(parser)


def run(args: argparse.Namespace) -> int:
    if args.action == "path":
        return _path(args.config)
    if args.action == "hash":
        return _hash()
    loaded = configuration(args)
    if args.action == "keys":
        return _keys(loaded)
    return _check(loaded) if args.action == "check" else _show(loaded)


def _path(named: Path | None) -> int:
    for path in (*standard_files(os.environ), *([named] if named else [])):
        state = "read" if os.access(path, os.R_OK) else "not readable" if path.exists() else "not there"
        print(f"{path}: {state}")
    return 0


def _hash() -> int:
    from getpass import getpass

    from exporters.credentials import ScryptHash

    try:
        password = getpass("password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    except EOFError:
        password = ""
    if not password:
        raise UsageError("no password was given")
    print(ScryptHash.of(password))
    return 0


def _keys(loaded: Loaded) -> int:
    """Every name with the keys that are in force, and what they do."""
    from dashboard.commands.screen import check_keys
    from dashboard.keymap import contexts, remapped

    check_keys(loaded)
    known: dict[str, str] = {}
    for _, bindings in contexts():
        words = ""
        for binding in remapped(bindings, loaded.config.tui.keys):
            words = binding.tooltip or binding.description or words
            if binding.id:
                known.setdefault(binding.id, f"{binding.id:<20} {_typed(binding.key):<14} {words}")
    print("\n".join(line for _, line in sorted(known.items())))
    return 0


def _typed(keys: str) -> str:
    """Keys as they are typed, and as the configuration takes them."""
    from dashboard.keymap import CHARACTERS

    return "  ".join(CHARACTERS.get(key, key) for key in keys.split(","))


def _check(loaded: Loaded) -> int:
    from dashboard.commands.screen import check_keys

    check_keys(loaded)
    unreadable = [
        f"{loaded.origins[key]}: {key}: {path} cannot be read"
        for key, path in _named_files(loaded)
        if not os.access(path, os.R_OK)
    ]
    if unreadable:
        raise CommandFailed("\n  ".join(["files the configuration names cannot be read:", *unreadable]))
    found = [str(path) for path, reason in loaded.files if reason is None]
    print(f"fine: {', '.join(found)}" if found else "fine: no configuration file, all at its default")
    return 0


def _named_files(loaded: Loaded) -> list[tuple[str, Path]]:
    server, gpu, engine, fleet = (
        loaded.config.server, loaded.config.gpu, loaded.config.engine, loaded.config.fleet,
    )  # fmt: skip
    single = {
        "server.tls_cert": server.tls_cert,
        "server.tls_key": server.tls_key,
        "server.client_ca": server.client_ca,
        "server.basic_auth_file": server.basic_auth_file,
        "server.bearer_token_file": server.bearer_token_file,
        "gpu.nvml_library": gpu.nvml_library,
        "fleet.token_file": fleet.token_file,
        "fleet.header_file": fleet.header_file,
        "fleet.ca_file": fleet.ca_file,
    }
    per_page = {
        "engine.token_files": engine.token_files,
        "engine.header_files": engine.header_files,
        "engine.ca_files": engine.ca_files,
    }
    of_pages = [(key, path) for key, table in per_page.items() for path in table.values()]
    return [(key, path) for key, path in single.items() if path is not None] + of_pages


def _show(loaded: Loaded) -> int:
    """A configuration file that gives exactly what is in force."""
    for section in SECTIONS:
        print(f"[{section}]")
        values = getattr(loaded.config, section)
        for key, kind in KINDS.items():
            name = key.removeprefix(f"{section}.")
            if name != key:
                print(f"{f'{name} = {kind.toml(getattr(values, name))}':<40} # {loaded.origins[key]}")
        print()
    return 0
