"""Real shells, with the real program on their path, and a tab key."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streaming.cli.completion.scripts import SCRIPTS
from tests.cli.terminal import Terminal

pytestmark = pytest.mark.process

BIN = Path(sys.executable).parent


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here: apt-get install {name}")
    return found


@pytest.fixture
def environment(real_url: str, tmp_path: Path) -> dict[str, str]:
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_CONFIG_HOME": str(tmp_path)}
    return {**home, "STREAMING_URL": real_url, "PATH": f"{BIN}:{os.environ['PATH']}"}


def output(words: list[str], environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        words, env={**os.environ, **environment}, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@contextmanager
def typing(words: list[str], environment: dict[str, str]) -> Iterator[Terminal]:
    opened = Terminal(words, columns=120, lines=30, environment=environment)
    try:
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait()
        os.close(opened.screen)
        os.close(opened.other)


BASH = 'eval "$(streaming completion bash)"; COMP_WORDS=({words}); COMP_CWORD={number}; compopt() {{ :; }};'
BASH += ' _streaming_completion streaming; printf "%s\\n" "${{COMPREPLY[@]}}"'


def in_bash(environment: dict[str, str], *words: str) -> list[str]:
    line = BASH.format(words=" ".join(["streaming", *(f"'{word}'" for word in words)]), number=len(words))
    return output([shell("bash"), "--norc", "-c", line], environment)


def test_bash_completes_commands_options_and_types(environment: dict[str, str]) -> None:
    in_bash(environment, "")  # what is made once is made
    assert in_bash(environment, "canc") == ["cancel"]
    assert in_bash(environment, "list", "--pre") == ["--preset"]
    assert in_bash(environment, "list", "--status", "=", "pend") == ["pending"]


def test_the_tab_key_of_a_bash_writes_the_rest(environment: dict[str, str]) -> None:
    with typing([shell("bash"), "--norc", "-i"], {**environment, "PS1": "> "}) as screen:
        screen.type('eval "$(streaming completion bash)"; echo re""ady\n')
        screen.until("ready")
        screen.type("streaming conf\t")
        screen.until("streaming config")
        screen.type("\x15streaming list --preset comp\t")
        screen.until("completed_today")


def test_the_tab_key_of_a_zsh_writes_the_rest(environment: dict[str, str]) -> None:
    with typing([shell("zsh"), "-f", "-i"], {**environment, "PS1": "> "}) as screen:
        screen.type('autoload -Uz compinit; compinit -u; eval "$(streaming completion zsh)"; echo re""ady\n')
        screen.until("ready")
        screen.type("streaming conf\t")
        screen.until("streaming config")
        screen.type("\x15streaming list --preset=comp\t")
        screen.until("--preset=completed_today")
        screen.type("\x15streaming list --st\t\t")
        screen.until("--status")


def test_fish_completes_commands_options_and_values(environment: dict[str, str]) -> None:
    fish = [shell("fish"), "--no-config", "-c"]

    def offered(line: str) -> list[str]:
        return output([*fish, f"streaming completion fish | source; complete -C '{line}'"], environment)

    assert [line.split("\t")[0] for line in offered("streaming canc")] == ["cancel"]
    assert offered("streaming list --status=pend") == ["--status=pending"]
    assert "run" in [line.split("\t")[0] for line in offered("streaming ")]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_right_for_its_shell(name: str) -> None:
    checked = subprocess.run([shell(name), "-n"], input=SCRIPTS[name], capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stderr) == (0, "")
