"""What the page decides without a document, by the tests that stand beside this one, in Node.js.

Owns:   running them.
Never:  touches a browser (`tests.page.test_page`).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.serving import ROOT

HERE = Path(__file__).parent
PAGE = Path("streaming", "web", "page")
SUITES = sorted(HERE.glob("*.test.mjs"))
MISSING = "there is no Node.js here: apt-get install nodejs"


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.name)
def test_a_module_of_the_page_holds_in_node(suite: Path, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip(MISSING)
    # Older ones take a module for what the package around it says.
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    shutil.copytree(ROOT / PAGE, tmp_path / PAGE)
    copy = tmp_path / "tests" / "page" / suite.name
    copy.parent.mkdir(parents=True)
    shutil.copy(suite, copy)
    done = subprocess.run([node, "--test", str(copy)], capture_output=True, text=True, timeout=50, check=False)

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "# pass 0" not in done.stdout
