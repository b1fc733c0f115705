"""How many each principal has of something, and may have.

Owns:   `Shares`.
Never:  refuses anybody, or knows what it is that is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from streaming.rules.evidence import Tally


class Shares:
    """How many each principal has of something; of those that have none nothing is kept. Iterate over the others.

    Args:
        most: so many each may have; None is no limit.
        exempt: somebody who has none.

    Attributes:
        most: as given.
    """

    __slots__ = ("_exempt", "_had", "most")

    def __init__(self, most: int | None = None, exempt: str | None = None) -> None:
        self.most = most
        self._exempt = exempt
        self._had: dict[str, int] = {}

    def __getitem__(self, principal: str) -> int:
        return self._had.get(principal, 0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._had)

    @property
    def total(self) -> int:
        """How many all of them have."""
        return sum(self._had.values())

    def has_room(self, principal: str, ahead: int = 0) -> bool:
        """Whether a principal may have one more.

        Args:
            principal: who.
            ahead: how many are about to come before.
        """
        return self.most is None or principal == self._exempt or self[principal] + ahead < self.most

    def change(self, principal: str, by: int) -> None:
        """Somebody has so many more, or fewer."""
        had = self[principal] + by
        if had:
            self._had[principal] = had
        else:
            self._had.pop(principal, None)

    def recount(self, principals: Iterable[str]) -> None:
        """Put right what each has.

        Args:
            principals: whose each of the things is.
        """
        self._had = dict(Counter(principals))

    def tallies(self, name: str, principals: Iterable[str]) -> list[Tally]:
        """What each has, as it is counted and in truth; only those that are counted wrong, and how many there are.

        Args:
            name: of what is counted.
            principals: whose each of the things is.
        """
        found = Counter(principals)
        wrong = [principal for principal in sorted({*self._had, *found}) if self[principal] != found[principal]]
        each = [Tally(f"{name} of {principal!r}", self[principal], found[principal]) for principal in wrong]
        return [Tally(name, self.total, found.total()), *each]
