"""Whether all is well on a server, as it says itself.

Owns:   the answer of an audit.
Uses:   rules.evidence (what a violation is).
Never:  looks at anything but the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from streaming.client.answers import bad_answer, first_line
from streaming.rules.evidence import Repair, Violation


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit says.

    Attributes:
        checked: how much was looked at, by name.
        whole: whether that was all there is, and not only as much as one audit may read.
        found: how many violations there are.
        violations: each of them; of very many only some.
        repaired: what was put right.
    """

    checked: Mapping[str, int]
    whole: bool
    found: int
    violations: Sequence[Violation]
    repaired: Sequence[Repair]


_audit = TypeAdapter(Audit)


def audit_from(document: Mapping[str, Any]) -> Audit:
    """Read the answer of an audit.

    Raises:
        ServerError: code ``bad_answer``; this is none.
    """
    try:
        return _audit.validate_python(document)
    except ValidationError as error:
        raise bad_answer(f"An audit was expected: {first_line(error)}") from error
