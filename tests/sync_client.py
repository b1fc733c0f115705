"""Writes the client without asyncio from the one with it: `python -m tests.sync_client`.

It is the same text without ``async`` and ``await``, and with other names for what differs. What cannot be said by
names alone stands in `PHRASES`; each of them must be found, so that none is forgotten when the text changes.

Owns:   which modules are written, and how one is made of the other.
Never:  decides anything about the client.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.serving import ROOT

SOURCE = ROOT / "streaming" / "client"
TARGET = SOURCE / "sync"
COMMAND = "python -m tests.sync_client"

#: Modules that wait for something; all others are values and rules, and are used by both.
MODULES = (
    "__init__",
    "client",
    "credentials",
    "external",
    "feed",
    "many",
    "patience",
    "reading",
    "refusals",
    "steering",
    "watching",
    "wire",
)

#: What has another name.
NAMES = {
    "AsyncClient": "Client",
    "AsyncGenerator": "Generator",
    "AsyncIterator": "Iterator",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "aclosing": "closing",
    "aconnect_sse": "connect_sse",
    "aiter_sse": "iter_sse",
    "aiter_text": "iter_text",
    "anext": "next",
    "aread": "read",
    "async_auth_flow": "sync_auth_flow",
    "asynccontextmanager": "contextmanager",
}
#: What is something else, module and name.
MEMBERS = {("asyncio", "Lock"): "threading.Lock", ("asyncio", "sleep"): "time.sleep"}

#: What is said in other words, by module.
PHRASES: Mapping[str, Mapping[str, str]] = {
    "__init__": {
        "The Python client: start tasks, follow them through any disturbance, "
        "cancel them, and get what became of them.": (
            "The Python client for programs without asyncio; `streaming.client` is the same for those with it."
        ),
    },
    "credentials": {
        "str | Callable[[], str | Awaitable[str]]": "str | Callable[[], str]",
        "a function, perhaps a coroutine function, that": "a function that",
        "given = self._source() if callable(self._source) else self._source\n"
        "        return await given if inspect.isawaitable(given) else given": (
            "return self._source() if callable(self._source) else self._source"
        ),
    },
    # It is a generator, and says less.
    "reading": {
        "EventSource(cast(httpx.Response, heard)).aiter_sse()": (
            'cast("AsyncGenerator[ServerSentEvent, None]", EventSource(cast(httpx.Response, heard)).aiter_sse())'
        ),
    },
    "client": {
        "a function, perhaps a coroutine function, that": "a function that",
    },
}

_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


def written(name: str) -> str:
    """The text of a module without asyncio, as it is written down.

    Args:
        name: of the module.
    """
    text = (SOURCE / f"{name}.py").read_text(encoding="utf-8")
    for phrase, other in PHRASES.get(name, {}).items():
        if phrase not in text:
            raise SystemExit(f"{name}.py does not say {phrase!r} any more: look at PHRASES")
        text = text.replace(phrase, other)
    head = f"# Written by `{COMMAND}` from streaming/client/{name}.py: change that one.\n"
    return formatted(head + without_asyncio(text), TARGET / f"{name}.py")


def without_asyncio(text: str) -> str:
    """A module that does the same and waits by itself."""
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def place(position: tuple[int, int]) -> int:
        return starts[position[0] - 1] + position[1]

    made, at = [], 0
    for begin, end, other in sorted(edits(tokens)):
        made += [text[at : place(begin)], other]
        at = place(end)
    made.append(text[at:])
    return "".join(made)


Edit = tuple[tuple[int, int], tuple[int, int], str]


def edits(tokens: list[tokenize.TokenInfo]) -> Iterator[Edit]:
    """Everything that has to be said in another way: from where to where, and how."""
    for index, token in enumerate(tokens):
        following = tokens[index + 1 : index + 4]
        if token.type == tokenize.STRING or token.type == tokenize.COMMENT:
            yield token.start, token.end, in_words(token.string)
        elif token.type != tokenize.NAME:
            continue
        elif token.string in ("async", "await"):
            yield token.start, following[0].start, ""
            if token.string == "await":
                yield from _parentheses(tokens, index)
        elif token.string == "Awaitable" and following[0].string == "[":
            yield token.start, following[0].end, ""
            closing = tokens[_matching(tokens, index + 1)]
            yield closing.start, closing.end, ""
        elif token.string == "import" and following[0].string == "asyncio":
            yield token.start, following[0].end, "import threading\nimport time"
        elif len(following) > 1 and (token.string, following[1].string) in MEMBERS:
            yield token.start, following[1].end, MEMBERS[token.string, following[1].string]
        elif token.string == "client" and _is_module(tokens, index):
            yield token.end, token.end, ".sync"
        elif token.string in NAMES:
            yield token.start, token.end, NAMES[token.string]


def in_words(text: str) -> str:
    """What a comment, a docstring or another text says."""
    text = re.sub(r"\basync (with|for|def)\b", r"\1", text)
    text = re.sub(r"\bawait ", "", text)
    return re.sub(rf"\b({'|'.join(NAMES)})\b", lambda found: NAMES[found[1]], text)


def _is_module(tokens: list[tokenize.TokenInfo], index: int) -> bool:
    """Whether ``streaming.client`` here goes on with the name of a module that is written."""
    before = [each.string for each in tokens[max(index - 3, 0) : index]]
    after = [each.string for each in tokens[index + 1 : index + 3]]
    return before[-2:] == ["streaming", "."] and after[0] == "." and after[1] in MODULES


def _matching(tokens: list[tokenize.TokenInfo], opening: int) -> int:
    """Where the bracket closes that opens there."""
    depth = 0
    for index in range(opening, len(tokens)):
        depth += (tokens[index].string in _OPENING) - (tokens[index].string in _CLOSING)
        if depth == 0:
            return index
    raise ValueError("a bracket is not closed")


def _parentheses(tokens: list[tokenize.TokenInfo], index: int) -> Iterator[Edit]:
    """Parentheses around ``(await something).more``, which are there for ``await`` only."""
    opening = tokens[index - 1]
    if opening.string != "(" or (tokens[index - 2].type == tokenize.NAME and tokens[index - 2].string not in _WORDS):
        return
    closing = _matching(tokens, index - 1)
    if tokens[closing + 1].string in (".", "["):
        yield opening.start, opening.end, ""
        yield tokens[closing].start, tokens[closing].end, ""


#: After these a parenthesis is no call.
_WORDS = frozenset({"return", "yield", "in", "not", "and", "or", "if", "while", "await", "assert"})


def formatted(text: str, path: Path) -> str:
    """A text as the house writes it: without names that are not used any more, sorted, in short lines."""
    ruff = [sys.executable, "-m", "ruff"]
    name = ["--stdin-filename", str(path), "-"]
    fixed = subprocess.run(
        [*ruff, "check", "--quiet", "--fix-only", "--unsafe-fixes", "--select=I,F401,UP028", *name],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    done = subprocess.run([*ruff, "format", *name], input=fixed.stdout, capture_output=True, text=True, check=True)
    return done.stdout


def main() -> None:
    TARGET.mkdir(exist_ok=True)
    for name in MODULES:
        (TARGET / f"{name}.py").write_text(written(name), encoding="utf-8")
    for path in TARGET.glob("*.py"):
        if path.stem not in MODULES:
            path.unlink()


if __name__ == "__main__":
    main()
