"""The README does what it says: its curl session is run as it stands, against a server that is started as it says.

Two things are replaced: the port by a free one, and ``python3 dev.py run`` by the environment that runs the tests
(``.ci/run`` runs those two commands themselves).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.command import RESULTS
from benchmarks.speed.readme import lines
from tests.pages import blocks as blocks_of
from tests.serving import ROOT, serving
from tests.terminal import Terminal

PATH = ROOT / "README.md"
README = PATH.read_text()
FIRST_SCREEN_LINES = 25
COMMANDS = ("python3 dev.py run streaming demo", "python3 dev.py run pytest", "poetry install && poetry run pytest")

pytestmark = pytest.mark.process


def blocks(heading: str, language: str) -> list[str]:
    """The code blocks of one section."""
    return [block.code for block in blocks_of(PATH, language) if block.section == heading]


def words_of(block: str) -> list[str]:
    """What a block says after ``streaming serve``."""
    words = block.split()
    assert words[:5] == ["python3", "dev.py", "run", "streaming", "serve"]
    return words[5:]


def shell(port: str, folder: Path, scripts: Sequence[str]) -> list[str]:
    """Paste blocks into one shell, and return what each of them prints."""
    border = "-----8<-----"
    script = f"\necho '{border}'\n".join(scripts).replace(":8000", f":{port}")
    bash = shutil.which("bash")
    assert bash is not None
    environment = os.environ | {"no_proxy": "127.0.0.1"}
    done = subprocess.run([bash, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=30)
    return done.stdout.split(f"{border}\n")


def stream(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    folder = tmp_path_factory.mktemp("session")
    serve, *rest = blocks("A session with curl", "sh")
    port = free_port()
    with serving(folder, *words_of(serve), STREAMING_PORT=port):
        yield shell(port, folder, rest)
    assert (folder / "streaming.db").is_file()


def test_the_first_screen_has_the_commands_that_set_everything_up() -> None:
    screen = README.splitlines()[:FIRST_SCREEN_LINES]

    for command in COMMANDS:
        assert any(command in line for line in screen), command


def test_the_session_with_curl_works_as_pasted(session: list[str]) -> None:
    started, running, listed, cancelled, resumed, feed = session

    events = stream(started)
    assert started.startswith("retry: 2000\nid: 1\nevent: pending\n")
    assert [e["type"] for e in events] == ["pending", "running", "tick", "progress", "tick", "progress", "completed"]
    assert events[-1]["data"] == {"result": {"count": 2}}

    (task,) = json.loads(listed)["tasks"]
    # A list shows what is stored; a sign of life is not worth a transaction of its own. An end is worked out each time.
    now = {"heartbeat_at": None, "eta": None}
    assert task | now == json.loads(running) | now
    assert task["params"] == {"count": 600, "interval": 60.0}

    record = json.loads(cancelled)
    assert (task["id"], "cancelled") == (record["id"], record["status"])
    assert (record["cancel"]["reason"], record["cancel"]["outcome"]) == ("enough", "stopped")

    assert [event["type"] for event in stream(resumed)] == ["tick", "cancel_requested", "cancelled"]
    assert [event["seq"] for event in stream(resumed)] == [3, 4, 5]

    assert [event["type"] for event in stream(feed)] == ["completed", "cancelled"]
    assert re.findall(r"^id: (\d+)$", feed, re.MULTILINE) == ["7", "12"]


def test_what_the_session_shows_is_what_the_server_sends(session: list[str]) -> None:
    """All that differs from run to run are ids and times; the README leaves lines out where it has three dots."""
    shown = blocks("A session with curl", "text")

    for block, printed in ((shown[number], session[number]) for number in (0, 4, 5)):
        wanted = [line for line in faceless(block) if line != "..."]
        rest = iter(faceless(printed))
        assert [line for line in wanted if line not in rest] == []


def faceless(text: str) -> list[str]:
    text = re.sub(r"[0-9a-f]{32}", "ID", text)
    return [line for line in re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text).splitlines() if line]


def test_the_handler_of_the_readme_runs(tmp_path: Path) -> None:
    (module,) = blocks("A handler of your own", "python")
    serve, start = blocks("A handler of your own", "sh")
    (tmp_path / "my_tasks.py").write_text(module)
    port = free_port()

    with serving(tmp_path, *words_of(serve), STREAMING_PORT=port):
        (printed,) = shell(port, tmp_path, [start])

    events = stream(printed)
    assert [event["type"] for event in events].count("greeting") == 3
    assert events[2]["data"] == {"text": "Hello Ada!"}
    assert events[-1]["data"] == {"result": {"greetings": 3}}


def test_the_handler_of_the_readme_holds(tmp_path: Path) -> None:
    (module,) = [block for block in blocks_of(PATH, "python") if block.section == "A handler of your own"]
    (prove,) = [block for block in blocks_of(PATH, "sh") if block.section == "Does your handler hold?"]

    with Terminal(tmp_path) as terminal:
        terminal.do(module._replace(note="file: my_tasks.py"))
        assert "greet holds" in terminal.do(prove)


def test_curl_is_here_and_new_enough() -> None:
    curl = shutil.which("curl")
    assert curl is not None
    version = subprocess.run([curl, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]

    assert tuple(map(int, version.split(".")[:2])) >= (7, 82)


def test_its_figures_are_those_that_were_measured_last() -> None:
    report = json.loads((RESULTS / "speed.json").read_text())

    assert "\n".join(lines(report)) in README, "python -m benchmarks.speed.readme prints them"
