"""What may stand where the cursor is: a decision about a line of words, without asking anybody.

Rules of this file:

- A line that is being typed is wrong most of the time: what is not understood offers nothing, and is no error.

Owns:   `Place`, what is wanted at the end of a line, and `place_of`.
Never:  asks a server; knows which values there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

#: A word of the line or an option, with what a help says of it.
Candidate = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """What is wanted where the cursor is.

    Attributes:
        word: what is there already.
        candidates: what is known to fit.
        values: words that fit, or the kind of values; None if nothing is known.
        option: the option whose value it is, if it stands in the same word: ``--type=``.
        type: the task type on the line, whose parameters are options, too.
        given: options that are on the line.
        own: for a typed command: all options that the command has for itself.
        open_option: an option on the line that the command does not know, and that may want a value.
        settings: values of options on the line that say whom to ask: ``--url`` and ``--store``.
    """

    word: str
    candidates: tuple[Candidate, ...] = ()
    values: Any = None
    option: str = ""
    type: str = ""
    given: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    open_option: str = ""
    settings: Mapping[str, str] | None = None

    @property
    def typed(self) -> bool:
        """Whether options of a task type may stand here."""
        return bool(self.type) and self.word.startswith("-")


class _Reader:
    """Goes along the words in front of the cursor."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.node = tree
        self.positional: list[str] = []
        self.given: set[str] = set()
        self.settings: dict[str, str] = {}
        self.wanting: Mapping[str, Any] | None = None
        self.open_option = ""
        self.plain = False

    def take(self, word: str) -> None:
        if self.wanting is not None:
            self._set(self.wanting, word)
            self.wanting = None
            return
        if word.startswith("-") and len(word) > 1 and not self.plain:
            self._option(word)
            return
        opened, self.open_option = self.open_option, ""
        if opened:
            return
        if word in self.node["commands"] and not self.positional:
            self.node = self.node["commands"][word]
        else:
            self.positional.append(word)

    def _option(self, word: str) -> None:
        self.open_option = ""
        if word == "--":
            self.plain = True
            return
        name, equals, value = word.partition("=")
        self.given.add(name)
        option = self.find(name)
        if option is None:
            self.open_option = "" if equals else name
        elif option["takes"]:
            if equals:
                self._set(option, value)
            else:
                self.wanting = option

    def _set(self, option: Mapping[str, Any], value: str) -> None:
        self.settings[option["names"][0]] = value

    def find(self, name: str) -> Mapping[str, Any] | None:
        return next((option for option in self.node["options"] if name in option["names"]), None)


def place_of(tree: Mapping[str, Any], words: Sequence[str]) -> Place:
    """What is wanted at the end of a line.

    Args:
        tree: all commands and options.
        words: behind the name of the program; the last one is where the cursor is, perhaps empty.
    """
    *before, word = words or [""]
    reader = _Reader(tree)
    for each in before:
        reader.take(each)
    typed = bool(reader.node.get("typed"))
    known = Place(
        word,
        type=reader.positional[0] if typed and reader.positional else "",
        given=frozenset(reader.given),
        own=frozenset(name for option in reader.node["options"] for name in option["names"]) if typed else frozenset(),
        settings=reader.settings,
    )
    if reader.wanting is not None:
        return _with(known, values=reader.wanting.get("values"))
    if reader.open_option:
        return _with(known, open_option=reader.open_option)
    if word.startswith("-") and not reader.plain:
        return _at_option(reader, known)
    commands = tuple((name, below["help"]) for name, below in reader.node["commands"].items())
    if commands and not reader.positional:
        return _with(known, candidates=_beginning(commands, word))
    return _with(known, values=_argument(reader))


def _at_option(reader: _Reader, known: Place) -> Place:
    name, equals, value = known.word.partition("=")
    if equals:
        option = reader.find(name)
        if option is None:
            return _with(known, word=value, option=name, open_option=name)
        return _with(known, word=value, option=name, values=option.get("values") if option["takes"] else None)
    options = tuple(
        (name, option["help"])
        for option in reader.node["options"]
        for name in option["names"]
        if option.get("many") or not known.given.intersection(option["names"])
    )
    long = tuple(each for each in options if each[0].startswith("--")) if known.word in ("-", "--") else options
    return _with(known, candidates=_beginning(long, known.word))


def _argument(reader: _Reader) -> Any:
    arguments = reader.node["arguments"]
    number = len(reader.positional)
    if number < len(arguments):
        return arguments[number]["values"]
    return arguments[-1]["values"] if arguments and arguments[-1]["many"] else None


def _beginning(candidates: Sequence[Candidate], word: str) -> tuple[Candidate, ...]:
    return tuple(each for each in candidates if each[0].startswith(word))


def _with(place: Place, **fields: Any) -> Place:
    return replace(place, **fields)
