"""The curl lines of the HTTP page work as they stand, each block of them as one session."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.pages import Block, blocks, missing
from tests.serving import ROOT, serving

pytestmark = pytest.mark.process

BLOCKS = [block for block in blocks(ROOT / "docs" / "http.md", "sh") if "curl " in block.code]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("page"), "--store", "memory://") as url:
        yield url


def test_there_are_lines_to_try() -> None:
    assert sum(block.code.count("curl ") for block in BLOCKS) >= 12


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: str(block.line))
def test_a_block_works_as_pasted(block: Block, url: str) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    lines = block.code.replace("http://127.0.0.1:8000", url).splitlines()
    script = "\n".join(f"{line}; echo" if line.startswith("curl ") else line for line in lines)
    done = subprocess.run([bash, "-ec", script], capture_output=True, text=True, timeout=30, check=True)

    if "curl -sN " in block.code:
        assert missing(block.shown, done.stdout) == []
        assert re.search(r"^id: 1\nevent: \w+\ndata: \{.*\}$", done.stdout, re.MULTILINE)
        return
    answers = [json.loads(line) for line in done.stdout.splitlines() if line]
    assert len(answers) == sum(line.startswith("curl ") for line in lines)
    for answer in answers:
        assert "code" not in answer, answer
        assert answer.keys() & {"tasks", "count", "matched", "id", "checked", "openapi"}
