"""The little Markdown that descriptions are written in: paragraphs, lists, and code.

Whatever else stands in a description is text, also what would be markup elsewhere.

Owns:   reading it.
Never:  makes a link, a heading, or an element that a description writes itself.
"""

from __future__ import annotations

import re
from itertools import groupby

from streaming.web.docs.markup import Html, join, tag

_TICKS = re.compile(r"(`+)")
_ITEM = re.compile(r"[-*] +")


def prose(text: str) -> Html:
    """Write a description.

    Args:
        text: paragraphs and lists, with blank lines between them.
    """
    return join(*(_block(block) for block in re.split(r"\n\s*\n", text.strip()) if block.strip()))


def line(text: str) -> Html:
    """Write words with code between them, such as a single paragraph, without an element around it."""
    parts = _TICKS.split(text)  # words, ticks, words, ticks, ...
    closing = _closing(parts)
    found: list[str] = []
    at = 0
    while at < len(parts):
        end = closing.get(at)
        if end is None:
            found.append(parts[at])
        else:
            found.append(tag("code", "".join(parts[at + 1 : end]).strip()))
        at = (end or at) + 1
    return join(*found)


def _closing(parts: list[str]) -> dict[int, int]:
    """Where the code ends that begins with some ticks: at as many of them."""
    found: dict[int, int] = {}
    after: dict[str, int] = {}
    for at in range(len(parts) - 2, 0, -2):
        if parts[at] in after:
            found[at] = after[parts[at]]
        after[parts[at]] = at
    return found


def _block(block: str) -> Html:
    """A paragraph; or a list, if need be with a paragraph before it."""
    lines = _joined(block.split("\n"))
    parts = []
    for listed, some in groupby(lines, lambda each: _ITEM.match(each) is not None):
        if listed:
            parts.append(tag("ul", *(tag("li", line(_ITEM.sub("", each, count=1))) for each in some)))
        else:
            parts.append(tag("p", line(" ".join(some))))
    return join(*parts)


def _joined(lines: list[str]) -> list[str]:
    """Lines without the breaks inside of an item."""
    found: list[str] = []
    for each in lines:
        if found and each.startswith(" ") and _ITEM.match(found[-1]):
            found[-1] += f" {each.strip()}"
        else:
            found.append(each.strip())
    return found
