"""A planted bug: a patch of the package, and what it says about itself.

Owns:   `Mutant`: reading it, and making a copy of the package that has it.
Never:  touches the package itself.

A patch begins with its head, one line each: ``what:`` is wrong, and ``hunt:`` the scenarios that may find it, in the
order in which they are tried. Then comes a diff with paths like ``a/streaming/engine/hub.py``.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import patch_ng  # type: ignore[import-untyped]  # it comes without types

import streaming

FOLDER = Path(__file__).parent
PACKAGE = Path(streaming.__file__).parent


class Outdated(AssertionError):
    """The code has changed where a patch applies: the patch has to change as well."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug.

    Attributes:
        name: of its file, without the suffix.
        what: is wrong, in one line.
        hunt: names of scenarios, see `tests.worlds.catalogue`.
        patch: the file.
    """

    name: str
    what: str
    hunt: tuple[str, ...]
    patch: Path

    @classmethod
    def read(cls, path: Path) -> Mutant:
        """Read one.

        Raises:
            ValueError: its head is not as it should be.
        """
        head: dict[str, str] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("--- "):
                break
            key, _, value = line.partition(": ")
            head[key] = value.strip()
        if head.keys() != {"what", "hunt"}:
            raise ValueError(f"{path.name} begins with the lines {sorted(head)}, and should with what: and hunt:")
        return cls(path.stem, head["what"], tuple(head["hunt"].replace(",", " ").split()), path)

    def plant(self, folder: Path) -> None:
        """Make a copy of the package in a folder, with the bug in it; the patch fits wherever its text stands once.

        Raises:
            Outdated: the patch does not fit the code any more.
        """
        shutil.copytree(PACKAGE, folder / "streaming", ignore=shutil.ignore_patterns("__pycache__"))
        changes = patch_ng.fromfile(str(self.patch))
        for change in changes.items if changes else ():
            path = folder / change.source.decode().removeprefix("a/")
            text = path.read_bytes()
            for hunk in change.hunks:
                before, after = _sides(hunk.text)
                if text.count(before) != 1:
                    raise Outdated(f"{self.patch.name} does not fit the code any more")
                text = text.replace(before, after)
            path.write_bytes(text)
        if not changes:
            raise Outdated(f"{self.patch.name} is no patch")


def _sides(lines: list[bytes]) -> tuple[bytes, bytes]:
    """What a hunk takes away and what it puts there; it is found by its text, as numbers of lines change often."""
    before = b"".join(line[1:] for line in lines if line[:1] in b" -")
    after = b"".join(line[1:] for line in lines if line[:1] in b" +")
    return before, after


def all_mutants() -> list[Mutant]:
    """All of them, by name."""
    return [Mutant.read(path) for path in sorted(FOLDER.glob("*.patch"))]
