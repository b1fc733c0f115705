"""What the rounds gave: by workload and contender, and one contender beside another.

Owns:   `Cell`, `Series`, `Results`, the ratio of two contenders: of each round by itself, so that a bad minute of the
        machine counts on both sides; then the median of the rounds.
Never:  measures, or writes anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.speed.workload import Workload


@dataclass(frozen=True, slots=True)
class Cell:
    """One round of one contender.

    Attributes:
        values: of the metrics; none if it has a flaw.
        mark: what the values are, if not what they seem.
        flaw: the promise that was broken.
        foreign_cores: CPU that others used meanwhile.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    mark: str = ""
    flaw: str | None = None
    foreign_cores: float = 0.0


@dataclass(slots=True)
class Series:
    """All rounds of one contender, in their order."""

    cells: list[Cell] = field(default_factory=list)

    def values(self, key: str) -> list[float]:
        return [cell.values[key] for cell in self.cells if key in cell.values]

    @property
    def flaws(self) -> list[str]:
        return [cell.flaw for cell in self.cells if cell.flaw is not None]

    @property
    def remark(self) -> str:
        """The marks, with how many rounds have each; nothing behind one that all have."""
        counted = Counter(cell.mark for cell in self.cells if cell.mark)
        rounds = len(self.cells)
        marks = [mark if count == rounds else f"{mark} in {count} of {rounds}" for mark, count in counted.items()]
        return ", ".join([*marks, *([f"**broken** in {len(self.flaws)} of {rounds}"] if self.flaws else [])])


@dataclass(slots=True)
class Results:
    """All that was measured."""

    workloads: Sequence[Workload]
    series: dict[tuple[str, str], Series] = field(default_factory=dict)

    def add(self, workload: str, contender: str, cell: Cell) -> None:
        self.series.setdefault((workload, contender), Series()).cells.append(cell)

    def of(self, workload: str, contender: str) -> Series:
        """What there is, which may be nothing."""
        return self.series.get((workload, contender), Series())

    def ratios(self, workload: str, key: str, contender: str, peer: str) -> list[float]:
        """One contender divided by another, round by round; rounds that one of them lacks are left out."""
        pairs = zip(self.of(workload, contender).cells, self.of(workload, peer).cells, strict=False)
        return [
            ours.values[key] / theirs.values[key]
            for ours, theirs in pairs
            if key in ours.values and theirs.values.get(key)
        ]
