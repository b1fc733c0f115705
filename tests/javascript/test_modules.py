"""The JavaScript of the page and of its client without a browser, by the tests that stand beside this one, in Node.js.

Owns:   running them.
Never:  touches a server of ours (`tests.browser` and `tests.page` do).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.serving import ROOT

HERE = Path(__file__).parent
PAGE = Path("streaming", "web", "page")
MISSING = "there is no Node.js here: apt-get install nodejs"
SUITES = sorted(path.name for path in HERE.glob("*.test.mjs"))


@pytest.mark.parametrize("suite", SUITES)
def test_a_module_holds_in_node(suite: str, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip(MISSING)
    # Older ones take a module for what the package around it says.
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    shutil.copytree(ROOT / PAGE, tmp_path / PAGE)
    shutil.copytree(HERE, tmp_path / "tests" / "javascript", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    copy = tmp_path / "tests" / "javascript" / suite
    done = subprocess.run([node, "--test", str(copy)], capture_output=True, text=True, timeout=50, check=False)

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "# pass 0" not in done.stdout
