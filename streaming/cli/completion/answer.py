"""The answer to a tab key, for each shell in its form.

Rules of this file:

- Whatever goes wrong, the line of the person who types stays as it is: there is nothing on stderr, and the status is 0.

Owns:   from the words of a line to the lines that a shell reads.
Uses:   cli.completion.tree, cli.completion.line, cli.completion.values.
Never:  runs a command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streaming.cli.completion.line import Candidate, Place, place_of
from streaming.cli.completion.tree import load
from streaming.cli.completion.values import values_at
from streaming.cli.output import printable

#: Names the shell when ``streaming`` is to complete a line instead of running it.
VARIABLE = "STREAMING_COMPLETE"

SHELLS = ("bash", "zsh", "fish")

#: A help beside a word is cut after so many letters.
HELP_MAX = 60


def answer(words: Sequence[str], environ: Mapping[str, str]) -> str:
    """What the shell reads.

    Args:
        words: behind the name of the program, up to the one where the cursor is.
        environ: its variables.

    Returns:
        A line for each candidate: the word, and where the shell shows it, a tab and a help.
    """
    shell = environ[VARIABLE]
    if shell not in SHELLS:
        return ""
    place = place_of(load(environ), _joined(words) if shell == "bash" else words)
    return "".join(_line(each, place, shell) for each in candidates_at(place))


def candidates_at(place: Place) -> list[Candidate]:
    """All that fits, each word once."""
    found = [*place.candidates, *values_at(place)]
    begun, comma, last = place.word.rpartition(",")
    fitting = dict(each for each in reversed(found) if each[0].startswith(place.word))
    if not fitting and comma:  # several values in one word
        fitting = {f"{begun},{word}": help for word, help in reversed(found) if word.startswith(last)}
    return [(word, help) for word, help in reversed(fitting.items())]


def _line(candidate: Candidate, place: Place, shell: str) -> str:
    word, help = candidate
    if place.option and shell != "bash":  # bash has cut the word at its =
        word = f"{place.option}={word}"
    if printable(word) != word or any(letter.isspace() for letter in word):
        return ""  # it could not be typed like this
    if shell == "bash":
        return f"{word}\n"
    return f"{word}\t{printable(help)[:HELP_MAX]}\n"


def _joined(words: Sequence[str]) -> list[str]:
    """Words as they were typed: bash cuts them at ``=``."""
    joined: list[str] = []
    for number, word in enumerate(words):
        after = number > 0 and words[number - 1] == "="
        if joined and joined[-1].startswith("-") and (word == "=" or (after and joined[-1].endswith("="))):
            joined[-1] += word
        else:
            joined.append(word)
    return joined
