"""All commands and options as plain data, in a file beside the others that a user's programs keep.

Rules of this file:

- The data belongs to one version of the command line: when a module of it has changed, it is made again.
- A file that cannot be read or written is no trouble: then it takes longer.

Owns:   the form of the data, its file, and which parameter has which values.
Uses:   cli.app, when the data has to be made.
Never:  asks a server.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

#: Values by the name of a parameter; what they are is for `values` to say.
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "task_id": "tasks",
        "task": "tasks",
        "type": "types",
        "ids": "keys",
        "status": "statuses",
        "preset": "presets",
        "sort": "sorts",
        "group_by": "groups",
        "filter": "filters",
    }
)

#: Commands that are about tasks that go on, and about those that have ended.
ACTIVE = frozenset({"cancel", "extend", "input", "watch", "why"})
ENDED = frozenset({"retry", "delete", "ack"})

FORM = 1


def load(environ: Mapping[str, str]) -> dict[str, Any]:
    """The data, from its file or made anew."""
    path, version = _path(environ), _version()
    with suppress(OSError, ValueError, AttributeError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept.get("version") == version:
            return dict(kept["tree"])
    tree = build()
    with suppress(OSError):
        _write(path, json.dumps({"version": version, "tree": tree}))
    return tree


def build() -> dict[str, Any]:
    """Read the commands and their options from the command line itself."""
    import typer.main

    from streaming.cli.app import app

    return _node(typer.main.get_command(app), "")


def _node(command: Any, name: str) -> dict[str, Any]:
    commands = {
        each: _node(below, each) for each, below in getattr(command, "commands", {}).items() if not below.hidden
    }
    options = [_option(each, name) for each in command.params if each.param_type_name == "option"]
    options.append({"names": ["--help", "-h"], "takes": False, "help": "Show this message and exit."})
    return {
        "help": command.get_short_help_str(),
        "commands": commands,
        "options": options,
        "arguments": [
            {"values": _values(each, name), "many": each.nargs == -1}
            for each in command.params
            if each.param_type_name == "argument"
        ],
        "typed": hasattr(command, "taken"),
    }


def _option(parameter: Any, command: str) -> dict[str, Any]:
    return {
        "names": [*parameter.opts, *parameter.secondary_opts],
        "takes": not parameter.is_flag,
        "many": bool(parameter.multiple),
        "help": str(parameter.help or ""),
        "values": _values(parameter, command),
    }


def _values(parameter: Any, command: str) -> Any:
    """Words, or the kind of words that a parameter may be."""
    described = parameter.type_descriptor
    if described.is_choice and described.choices is not None:
        return [str(getattr(each, "value", each)) for each in described.choices]
    kind = KINDS.get(parameter.name or "")
    if kind == "tasks":
        return "active" if command in ACTIVE else "ended" if command in ENDED else "tasks"
    return kind


# -- the file ----------------------------------------------------------------------------------------------------------


def _path(environ: Mapping[str, str]) -> Path:
    caches = environ.get("XDG_CACHE_HOME") or os.path.join(environ.get("HOME") or tempfile.gettempdir(), ".cache")
    return Path(caches) / "streaming" / "completion.json"


def _version() -> list[Any]:
    """What the data depends on: its form, this Python, and the modules of the command line."""
    changed = sorted(_modules(Path(__file__).parents[1]))
    return [FORM, sys.executable, str(Path(__file__)), len(changed), changed[-1] if changed else 0]


def _modules(folder: Path) -> Iterator[int]:
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _modules(Path(entry.path))
        elif entry.name.endswith(".py"):
            yield entry.stat().st_mtime_ns


def _write(path: Path, text: str) -> None:
    """Whoever reads meanwhile gets the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(text)
    os.replace(file.name, path)
