from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.tasks import tree
from streaming.tasks.tree import Entry, blocks, reason, walk


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    before = set(os.listdir("/proc/self/fd"))
    yield descriptor
    assert set(os.listdir("/proc/self/fd")) == before
    os.close(descriptor)


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def seen(folder: int) -> tuple[list[str], dict[str, str]]:
    skipped: dict[str, str] = {}
    files = [entry.path.decode() for entry in walk(folder, lambda path, why: skipped.update({path.decode(): why}))]
    return files, skipped


def test_every_file_is_seen_in_the_order_of_the_paths(tmp_path: Path, folder: int) -> None:
    names = ["a-b", "a.txt", "a/b", "a/b-c/d", "a/b.c/d", "ab", "b", "é/ü"]
    put(tmp_path, *reversed(names))
    files, skipped = seen(folder)
    assert files == sorted(names, key=str.encode)
    assert skipped == {}


names_of_files = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=4).filter(
    lambda name: name not in (".", "..")
)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.tuples(names_of_files, names_of_files), max_size=12))
def test_the_order_is_that_of_the_bytes_whatever_the_names(
    tmp_path_factory: pytest.TempPathFactory, pairs: set[tuple[str, str]]
) -> None:
    root = tmp_path_factory.mktemp("order")
    for outer, inner in pairs:
        (root / outer).mkdir(exist_ok=True)
        (root / outer / inner).touch()
        (root / (outer + "-")).mkdir(exist_ok=True)
        (root / (outer + "-") / "x").touch()
    descriptor = os.open(root, os.O_RDONLY)
    files = [entry.path for entry in walk(descriptor, lambda path, why: None)]
    os.close(descriptor)
    assert files == sorted(files)
    assert len(files) == sum(path.is_file() for path in root.rglob("*"))


def test_links_and_special_files_are_left_out_and_reported(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "file", "folder/inner")
    (tmp_path / "to-file").symlink_to("file")
    (tmp_path / "to-folder").symlink_to("folder")
    (tmp_path / "to-outside").symlink_to("/etc")
    (tmp_path / "to-itself").symlink_to(tmp_path)
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the whole path could be too long for a socket
        server.bind("socket")
    files, skipped = seen(folder)
    assert files == ["file", "folder/inner"]
    links = dict.fromkeys(("to-file", "to-folder", "to-outside", "to-itself", "broken"), "symbolic link")
    assert skipped == {**links, "fifo": "not a regular file", "socket": "not a regular file"}


def test_what_cannot_be_read_is_left_out_and_reported(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the refusals are played."""
    put(tmp_path, "a/x", "b/x", "c", "d")
    real_open, real_scan, real_stat = os.open, os.scandir, os.stat
    closed = os.stat(tmp_path / "b").st_ino

    def play_open(path: object, *args: object, **options: object) -> int:
        if path == "a":
            raise PermissionError(13, "x")
        return real_open(path, *args, **options)  # type: ignore[arg-type]  # passed on as it came

    def play_scan(path: int) -> Any:
        if os.fstat(path).st_ino == closed:
            raise PermissionError(13, "x")
        return real_scan(path)

    def play_stat(path: object, **options: object) -> os.stat_result:
        if path == b"c":
            raise FileNotFoundError(2, "x")
        return real_stat(path, **options)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(os, "open", play_open)
    monkeypatch.setattr(os, "scandir", play_scan)
    monkeypatch.setattr(os, "stat", play_stat)
    files, skipped = seen(folder)
    monkeypatch.undo()
    assert files == ["d"]
    assert skipped == {"a": "permission denied", "b": "permission denied", "c": "vanished"}


def test_a_directory_that_becomes_a_link_is_not_entered(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The swap happens between the look and the step, which is when an attacker would do it."""
    put(tmp_path, "in/folder/x", "out/secret")
    real_open = os.open

    def swap(path: object, *args: object, **options: object) -> int:
        if path == "folder":
            (tmp_path / "in/folder/x").unlink()
            (tmp_path / "in/folder").rmdir()
            (tmp_path / "in/folder").symlink_to(tmp_path / "out")
        return real_open(path, *args, **options)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(os, "open", swap)
    files, skipped = seen(folder)
    monkeypatch.undo()
    assert files == ["out/secret"]  # by its own way, not through the link
    assert list(skipped) == ["in/folder"]


def test_a_tree_that_is_too_deep_is_cut(tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "DEPTH_MAX", 2)
    put(tmp_path, "1/2/file", "1/2/3/file")
    assert seen(folder) == (["1/2/file"], {"1/2/3": "too deep"})


def test_a_walk_that_is_broken_off_holds_nothing(tmp_path: Path, folder: int) -> None:
    put(tmp_path, "a/b/c/file", "a/b/c/other")
    entries = walk(folder, lambda path, why: None)
    assert next(entries).path == b"a/b/c/file"
    entries.close()  # the fixture counts the descriptors


def test_everything_is_counted_before_it_is_held(tmp_path: Path, folder: int) -> None:
    """Files, directories, links and what is left out; so that whoever counts can stop in the middle of a directory."""
    put(tmp_path, "a", "b/c", "b/d")
    (tmp_path / "link").symlink_to("a")
    os.mkfifo(tmp_path / "fifo")
    counted: list[None] = []
    assert len(list(walk(folder, lambda path, why: None, lambda: counted.append(None)))) == 3
    assert len(counted) == 6

    def refuse() -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        list(walk(folder, lambda path, why: None, refuse))


def entry(folder: int, name: str) -> Entry:
    return Entry(name.encode(), folder, name.encode(), 0)


def test_a_file_is_read_in_blocks(tmp_path: Path, folder: int) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    assert [bytes(block) for block in blocks(entry(folder, "file"), bytearray(4))] == [b"0123", b"4567", b"89"]


def test_reading_that_is_broken_off_holds_nothing(tmp_path: Path, folder: int) -> None:
    put(tmp_path, "file")
    content = blocks(entry(folder, "file"), bytearray(1))
    next(content)
    content.close()


def test_a_file_that_became_a_link_or_a_pipe_is_not_read(tmp_path: Path, folder: int) -> None:
    put(tmp_path, "file")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name in ("link", "fifo", "folder", "gone"):
        with pytest.raises(OSError):
            list(blocks(entry(folder, name), bytearray(1)))


def test_reasons_name_no_path() -> None:
    assert reason(FileNotFoundError(2, "No such file", "/secret")) == "vanished"
    assert reason(PermissionError(13, "x", "/secret")) == "permission denied"
    assert reason(OSError("not a regular file")) == "not a regular file"
