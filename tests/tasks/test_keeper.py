"""The parts of a keeper that can be tried without a program; what it does with one is in test_program."""

from __future__ import annotations

import inspect
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from streaming.tasks import keeper
from streaming.tasks.keeper import descendants, remove, written
from streaming.tasks.program import CPU_MERCY_S, Limits


def test_limits_are_written_for_the_keeper() -> None:
    limits = Limits(cpu_s=5, memory_bytes=1000, file_bytes=10, files=20)
    assert written(limits.as_resources()) == (
        f"RLIMIT_CPU=5:{5 + CPU_MERCY_S},RLIMIT_AS=1000:1000,RLIMIT_FSIZE=10:10,RLIMIT_NOFILE=20:20,RLIMIT_CORE=0:0"
    )
    assert written(Limits().as_resources()) == "RLIMIT_CORE=0:0"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "[100, 200]"),
        ("RLIMIT_NOFILE=50:60", "[50, 60]"),
        ("RLIMIT_NOFILE=50:1000", "[50, 200]"),
        ("RLIMIT_NOFILE=1000:1000", "[200, 200]"),
    ],
)
def test_a_limit_that_is_lower_already_stays(text: str, told: str) -> None:
    script = f"""
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
runpy.run_path({keeper.__file__!r})["set_limits"](sys.argv[1])
print(list(resource.getrlimit(resource.RLIMIT_NOFILE)))
"""
    argv = [sys.executable, "-I", "-S", "-c", script, text]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip() == told


def test_it_begins_without_what_takes_long_to_import() -> None:
    """Each program waits for it."""
    source = Path(keeper.__file__).read_text(encoding="utf-8")
    script = "import sys; exec(sys.stdin.read(), {}); print(*sys.modules)"
    argv = [sys.executable, "-I", "-S", "-c", script]
    told = subprocess.run(argv, input=source, capture_output=True, text=True, check=True)
    slow = {
        "collections",
        "contextlib",
        "enum",
        "functools",
        "re",
        "shutil",
        "signal",
        "socket",
        "subprocess",
        "typing",
    }
    assert "resource" in told.stdout
    assert slow & set(told.stdout.split()) == set()


# -- the directory


def test_a_directory_is_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (folder / "a/b/c").mkdir(parents=True)
    for path in ("file", "a/file", "a/b/c/file", ".1", "a/.1", "a/b/.2"):
        (folder / path).touch()
    (folder / "a/b/.3").mkdir()
    (folder / ".4").mkdir()
    (folder / ".4/x").touch()
    os.mkfifo(folder / "a/fifo")
    (folder / "link").symlink_to(outside)
    (folder / "a/link").symlink_to(outside)
    (folder / os.fsdecode(b"\xff\n")).touch()
    (folder / "a").chmod(0)
    remove(str(folder))
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(outside) == ["precious"]


def test_what_is_moved_up_takes_no_name_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, a full directory and an empty one stand where the first directories would go."""
    folder = tmp_path / "folder"
    for path in ("a/x/y", "a/z", ".2/full", ".3"):
        (folder / path).mkdir(parents=True)
    (folder / ".1").touch()
    list_directory = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: sorted(list_directory(path), reverse=True))
    remove(str(folder))
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_no_directory_is_too_deep(tmp_path: Path) -> None:
    """Deeper than a stack may be, and than a process may have files open."""
    (tmp_path / "folder").mkdir()
    here = os.open(tmp_path / "folder", os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    limit, files = sys.getrecursionlimit(), resource.getrlimit(resource.RLIMIT_NOFILE)
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 50, files[1]))
    try:
        remove(str(tmp_path / "folder"))
    finally:
        sys.setrecursionlimit(limit)
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_gone_is_no_failure_and_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    remove(str(tmp_path / "gone"))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/precious").touch()
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match=r"directory|links"):
        remove(str(tmp_path / "link"))
    assert os.listdir(tmp_path / "outside") == ["precious"]


# -- the processes


def test_all_descendants_are_found_and_the_dead_are_not() -> None:
    script = "setsid sh -c 'echo $$; exec sleep 1000' & sh -c 'echo $$; exec sleep 1000' & exec sleep 1000"
    shell = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, text=True)
    dead = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    assert shell.stdout is not None
    alive = [int(shell.stdout.readline()) for _ in range(2)]
    try:
        found = dict(descendants(os.getpid()))
        assert {shell.pid, *alive} <= found.keys()
        assert all(found[pid] == os.getpgid(pid) for pid in alive)
        assert dead.pid not in found
    finally:
        for pid in (shell.pid, *alive):
            os.kill(pid, 9)
        shell.wait()
        shell.stdout.close()
        dead.wait()


def test_a_program_whose_name_looks_like_something_else_is_found(tmp_path: Path) -> None:
    """The kernel writes the name between the numbers, whatever it is."""
    tool = tmp_path / "x) Z 1 1 (\n"
    tool.write_bytes(Path("/bin/sleep").read_bytes())
    tool.chmod(0o755)
    process = subprocess.Popen([str(tool), "1000"])
    try:
        assert process.pid in dict(descendants(os.getpid()))
    finally:
        process.kill()
        process.wait()
