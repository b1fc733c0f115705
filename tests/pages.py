"""Blocks of code in Markdown, as tests take them out of our pages.

A comment in front of a block says what becomes of it, if its language does not: tests/test_blocks.py has all of them. A
block of the language ``text`` right after it is what it prints.

Owns:   `Block`, finding them, and comparing what they show with what was printed.
Never:  runs one.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(
    r"^ *(?:<!-- (?P<note>[^\n]*?) -->\n *)?```(?P<language>\w*)\n(?P<code>.*?)^ *```$"
    r"(?=(?:\n\n *```text\n(?P<shown>.*?)^ *```$)?)",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """One block of code of a page.

    Attributes:
        path: of the page.
        line: where its code begins.
        section: the heading of the second level above it.
        language: as it says.
        code: what is in it.
        note: the comment in front of it.
        shown: what it prints, as the page says.
    """

    path: Path
    line: int
    section: str
    language: str
    code: str
    note: str
    shown: str


def blocks(path: Path, *languages: str) -> list[Block]:
    """The blocks of a page, in their order.

    Args:
        path: of the page.
        languages: only of these; none means all.
    """
    return [block for block in _blocks(path) if not languages or block.language in languages]


def _blocks(path: Path) -> Iterator[Block]:
    text = path.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("code")) + 1
        headings = re.findall(r"^## (.*)$", text[: found.start()], re.MULTILINE)
        section = headings[-1] if headings else ""
        code, shown = (textwrap.dedent(found[name] or "") for name in ("code", "shown"))
        yield Block(path, line, section, found["language"], code, found["note"] or "", shown)


def missing(shown: str, printed: str) -> list[str]:
    """The lines of a page that an output has not, or not in this order.

    Ids, times and blanks may differ; three dots are whatever is there, and as a line of their own any lines.
    """
    rest = iter([_plain(line) for line in printed.splitlines()])
    absent = []
    for line in shown.splitlines():
        wanted = ".*".join(map(re.escape, _plain(line).split("...")))
        if line.strip() not in ("", "...") and not any(re.fullmatch(wanted, each) for each in rest):
            absent.append(line)
    return absent


def _plain(line: str) -> str:
    line = re.sub(r"\b[0-9a-f]{32}\b", "ID", line)
    line = re.sub(r"\b\d{4}-\d\d-\d\dT[\d:.]+Z|\b\d\d:\d\d:\d\d\b", "TIME", line)
    return re.sub(r"\s+", " ", line).strip()
