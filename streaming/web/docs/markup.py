"""HTML as values: what is text stays text.

Owns:   escaping; how an element is written.
Never:  takes a text for markup: that is only what was made here.
"""

from __future__ import annotations

from html import escape
from typing import TypeAlias


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


#: What may stand in an element; None is nothing.
Part: TypeAlias = str | None

#: Elements without an end.
_VOID = frozenset({"link", "meta"})


def tag(name: str, /, *parts: Part, **attributes: str) -> Html:
    """Write an element.

    Args:
        name: of the element.
        parts: what stands in it; texts are escaped, markup is not.
        attributes: by name; ``class_`` is ``class``, another ``_`` a dash. Values are escaped.
    """
    written = "".join(
        f' {attribute.rstrip("_").replace("_", "-")}="{escape(value)}"' for attribute, value in attributes.items()
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(*parts)}</{name}>")


def join(*parts: Part, between: str = "") -> Html:
    """Parts, one after the other.

    Args:
        parts: texts are escaped, markup is not.
        between: text that stands between two of them.
    """
    written = [part if isinstance(part, Html) else escape(part) for part in parts if part is not None]
    return Html(escape(between).join(written))
