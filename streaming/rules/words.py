"""The words that a task is found by.

Owns:   what a word is; which words a record has, and how many at most.
Never:  searches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from streaming.records import Record

#: Longer ones are cut, and what comes behind so many is not found: an index must not outgrow its records.
WORD_MAX, WORDS_MAX = 64, 64

#: Characters of the parameters in which words are looked for, in all.
PARAMS_MAX = 2000


def words_in(text: str) -> Iterator[str]:
    """The words of a text: runs of letters and digits, without their case."""
    folded = text.casefold()
    start = None
    for place, character in enumerate(folded):
        if character.isalnum():
            start = place if start is None else start
        elif start is not None:
            yield folded[start:place][:WORD_MAX]
            start = None
    if start is not None:
        yield folded[start:][:WORD_MAX]


def words_of(record: Record) -> frozenset[str]:
    """The words of a record: of its type, tags, key, external id, the texts in its parameters, and its last error.

    The error of an attempt that another one follows is none of them: what is found by a word must stay so.
    """
    last = None if record.finished_at is None else record.error
    error = () if last is None else (last.code, last.message)
    texts = (record.type, *record.tags, record.key or "", record.external_id or "", *error)
    found = chain.from_iterable(words_in(text) for text in chain(texts, _texts_of(record.params)))
    return frozenset(islice(dict.fromkeys(found), WORDS_MAX))


def _texts_of(params: object) -> Iterator[str]:
    """The texts in a JSON value, up to `PARAMS_MAX` characters."""
    left = PARAMS_MAX
    for text in _leaves(params):
        if left <= 0:
            return
        yield text[:left]
        left -= len(text)


def _leaves(value: object) -> Iterator[str]:
    """All texts of a JSON value in their order, however deep it is."""
    rest: list[Iterator[object]] = [iter((value,))]
    while rest:
        for each in rest[-1]:
            if isinstance(each, str):
                yield each
            elif isinstance(each, dict | list | tuple):
                rest.append(_children(each))
                break
        else:
            rest.pop()


def _children(value: object) -> Iterator[object]:
    children: Iterable[object] = value.values() if isinstance(value, dict) else value  # type: ignore[assignment]  # a list or tuple
    return iter(children)
