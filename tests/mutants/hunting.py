"""Plant a bug in a copy of the package, and hunt for it in another process.

Owns:   `hunt_for`.
Never:  lets a planted bug come near this process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import Mutant

ROOT = Path(__file__).parent.parent.parent
SCHEDULES = 2000


@dataclass(frozen=True, slots=True)
class Find:
    """A bug that was found.

    Attributes:
        scenario: in which it showed.
        schedules: how many were needed.
        seconds: how long these took.
        choices: in the trace that showed it.
        shrunk: how many of these are enough.
        trace: these.
        said: what the scenario said.
    """

    scenario: str
    schedules: int
    seconds: float
    choices: int
    shrunk: int
    trace: str
    said: str


def hunt_for(mutant: Mutant, *, schedules: int = SCHEDULES, seed: int = 0) -> Find | None:
    """Hunt for a planted bug.

    Args:
        mutant: the bug.
        schedules: at most so many.
        seed: of the first one.

    Returns:
        How it was found; None if it survives.

    Raises:
        Outdated: its patch does not fit the code any more.
        RuntimeError: the hunt has failed by itself.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        mutant.plant(Path(folder))
        command = [sys.executable, "-P", "-m", "tests.mutants.hunt", *mutant.hunt]
        limits = ["--schedules", str(schedules), "--seed", str(seed)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([folder, str(ROOT)])}
        ended = subprocess.run([*command, *limits], env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"the hunt for {mutant.name} has failed:\n{ended.stderr[-3000:]}")
    found = json.loads(ended.stdout)
    return None if found is None else Find(**found)
