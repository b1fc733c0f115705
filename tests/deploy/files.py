"""The files of deploy/, read as what will use them reads them.

Owns:   small readers for YAML, a Dockerfile and a systemd unit, which are strict where their programs are not.
Never:  judges what is in a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.serving import ROOT

DEPLOY = ROOT / "deploy"

#: Everything that belongs to the kit.
FILES = sorted(
    path for path in [ROOT / ".dockerignore", *DEPLOY.rglob("*")] if path.is_file() and "secrets" not in path.parts
)

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


class _Strict(yaml.SafeLoader):
    """Refuses what YAML overlooks: a name that stands twice in one mapping."""


def _mapping(loader: _Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    names = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"twice: {sorted(twice)}", node.start_mark)
    return loader.construct_mapping(node, deep=True)


_Strict.add_constructor("tag:yaml.org,2002:map", _mapping)


def documents(path: Path) -> list[Any]:
    """All documents of a YAML file."""
    return list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=_Strict))  # it is a SafeLoader


def document(path: Path) -> Any:
    """The only document of a YAML file."""
    (found,) = documents(path)
    return found


class Instruction(NamedTuple):
    """One instruction of a Dockerfile, its lines joined."""

    word: str
    text: str

    @property
    def words(self) -> list[str]:
        """The list of an exec form.

        Raises:
            ValueError: it is a shell form.
        """
        found = json.loads(self.text[self.text.index("[") :])
        assert isinstance(found, list)
        return found


def instructions(path: Path) -> list[Instruction]:
    """What a Dockerfile says, in its order."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not re.match(r"\s*(#|$)", line)]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines()]


def variables(text: str) -> dict[str, str]:
    """The ``NAME=value`` pairs of an ENV or ARG."""
    return dict(pair.split("=", 1) for pair in text.split())


def unit(path: Path) -> dict[str, dict[str, list[str]]]:
    """The sections of a unit: all values of each name, as one that is repeated adds to those before."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if section := re.fullmatch(r"\[(\w+)\]", line):
            found[section[1]] = {}
        elif line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals, line
            assert re.fullmatch(r"[A-Z][A-Za-z]*", name), line
            found[list(found)[-1]].setdefault(name, []).append(value)
    return found


def seconds(text: str | float) -> float:
    """A duration as compose and systemd write it: ``20``, ``20s``, ``1m30s``."""
    if not re.search("[a-z]", str(text)):
        return float(text)
    pieces = re.findall(r"([\d.]+)(ms|s|m|h)", str(text))
    assert "".join(number + name for number, name in pieces) == text, text
    return sum(float(number) * _SECONDS[name] for number, name in pieces)


def environment_of(service: Mapping[str, Any]) -> dict[str, str]:
    """The variables of a service of compose."""
    return {name: str(value) for name, value in service.get("environment", {}).items()}
