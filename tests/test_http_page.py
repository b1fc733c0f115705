"""The curl lines of the HTTP page work as they stand: every one of them that needs no task of its own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.serving import ROOT, serving

pytestmark = pytest.mark.process

PAGE = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line.startswith("curl ")
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("page"), "--store", "memory://") as url:
        yield url


def test_there_are_lines_to_try() -> None:
    assert len(LINES) >= 7


@pytest.mark.parametrize("line", LINES)
def test_a_line_works_as_pasted(line: str, url: str) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    command = line.replace("http://127.0.0.1:8000", url)
    assert command != line
    done = subprocess.run([bash, "-c", command], capture_output=True, text=True, timeout=30, check=True)

    answer = json.loads(done.stdout)
    assert "code" not in answer, answer
    assert answer.keys() & {"tasks", "count", "matched"}
