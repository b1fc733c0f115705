"""Blocks of code in Markdown, as tests take them out of our pages.

A comment in front of a block says what becomes of it, such as ``<!-- runnable -->``; a block of the language ``text``
right after it is what it prints.

Owns:   `Block`, and finding them.
Never:  runs one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(
    r"^(?:<!-- (?P<note>[^\n]*?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$"
    r"(?=(?:\n\n```text\n(?P<shown>.*?)^```$)?)",
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
        yield Block(path, line, section, found["language"], found["code"], found["note"] or "", found["shown"] or "")
