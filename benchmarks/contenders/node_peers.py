"""The peers that Node has: its own http module, and better-sse.

Owns:   how they are started, and where better-sse is installed: beside the environment of this project, once.
Never:  installs Node.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from benchmarks.contenders.contender import Contender

BETTER_SSE = "0.16.1"
INSTALL_S = 60.0

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_INSTALLED = _ROOT / ".dev" / "npm" / f"better-sse-{BETTER_SSE}"
#: There once it is installed.
BETTER_SSE_MODULE = _INSTALLED / "node_modules" / "better-sse" / "build" / "index.mjs"


def _node() -> str:
    return shutil.which("node") or "node"


def _no_node() -> str | None:
    return None if shutil.which("node") else "there is no node: apt-get install nodejs"


@cache
def _no_better_sse() -> str | None:
    """Install it, the first time."""
    if _no_node() or BETTER_SSE_MODULE.exists():
        return _no_node()
    npm = shutil.which("npm")
    if npm is None:
        return "there is no npm, which fetches it: apt-get install npm"
    _INSTALLED.mkdir(parents=True, exist_ok=True)
    words = ("install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1", "--prefix", str(_INSTALLED))
    try:
        done = subprocess.run(
            [npm, *words, f"better-sse@{BETTER_SSE}"], capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"npm did not fetch better-sse {BETTER_SSE} within {INSTALL_S:g} s: is its registry reachable?"
    if done.returncode or not BETTER_SSE_MODULE.exists():
        return f"npm could not fetch better-sse {BETTER_SSE}: is its registry reachable? (npm config list)"
    return None


def _command(program: str, *more: str) -> Sequence[str]:
    return (_node(), str(_HERE / program), *more)


def _node_version() -> dict[str, str]:
    said = subprocess.run([_node(), "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    return {"node": said.strip().removeprefix("v")}


def _better_sse_version() -> dict[str, str]:
    package = json.loads((BETTER_SSE_MODULE.parent.parent / "package.json").read_text())
    return {"better-sse": str(package["version"])}


NODE = Contender(
    "node",
    "Node's http: frames made once, written to every response",
    lambda: _command("node_http.mjs"),
    missing=_no_node,
    versions=_node_version,
)
BETTER = Contender(
    "better-sse",
    "better-sse on Node's http: a session for each reader, a channel that broadcasts",
    lambda: _command("better_sse.mjs", str(BETTER_SSE_MODULE)),
    missing=_no_better_sse,
    versions=_better_sse_version,
)
