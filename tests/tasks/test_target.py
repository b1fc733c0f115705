from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from streaming.errors import HandlerError
from streaming.events import encode_payload
from streaming.tasks.background import in_thread
from streaming.tasks.target import BLOCK_BYTES, FileTarget, ResultTarget, check_name

LIMIT = 4096


def files_below(root: Path) -> list[str]:
    return [path.name for path in root.rglob("*") if path.is_file()]


async def kept(target: ResultTarget | FileTarget, *pieces: bytes) -> dict[str, Any]:
    await target.open()
    for piece in pieces:
        await target.write(piece)
    result = await target.keep()
    await target.aclose()
    return result


@pytest.mark.parametrize("body", [b"", b"hello", "grüße ☃".encode(), b'{"a": [1, 2]}', b"a\r\n\tb"])
async def test_text_is_kept_as_text(body: bytes) -> None:
    assert await kept(ResultTarget(LIMIT), body) == {
        "sha256": hashlib.sha256(body).hexdigest(),
        "encoding": "text",
        "body": body.decode(),
    }


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a\0b", "grüße".encode("latin-1"), b"\x01" * (LIMIT // 2)])
async def test_what_json_cannot_carry_well_is_kept_in_base64(body: bytes) -> None:
    """Bytes, NUL (which PostgreSQL's JSON refuses), and what escaping would make six times as long."""
    result = await kept(ResultTarget(LIMIT), body)
    assert result["encoding"] == "base64"
    assert base64.b64decode(result["body"]) == body


@pytest.mark.parametrize("byte", [b"a", b'"', b"\x01", b"\xff", "é".encode()])
async def test_the_largest_body_fits_in_a_result_whatever_it_is_made_of(byte: bytes) -> None:
    body = byte * (LIMIT // 2 // len(byte))
    assert len(encode_payload(await kept(ResultTarget(LIMIT), body)).encode()) < LIMIT


async def test_a_body_too_large_for_a_result_is_refused_with_the_way_out() -> None:
    target = ResultTarget(LIMIT)
    await target.write(b"x" * (LIMIT // 2))
    with pytest.raises(HandlerError, match="save_as") as raised:
        await target.write(b"x")
    assert raised.value.code == "too_large"


async def test_a_file_appears_whole(tmp_path: Path) -> None:
    body = os.urandom(BLOCK_BYTES + 17)
    target = FileTarget(tmp_path, "a/b/file.bin", "id")
    await target.open()
    await target.write(body[:BLOCK_BYTES])
    await target.write(body[BLOCK_BYTES:])
    assert files_below(tmp_path) == [".id.part"]
    result = await target.keep()
    await target.aclose()
    assert result == {"sha256": hashlib.sha256(body).hexdigest(), "saved_as": "a/b/file.bin"}
    assert (tmp_path / "a/b/file.bin").read_bytes() == body
    assert files_below(tmp_path) == ["file.bin"]


async def test_a_file_that_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    target = FileTarget(tmp_path, "file", "id")
    await target.open()
    await target.write(b"new" * BLOCK_BYTES)
    await target.aclose()
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


async def test_an_older_file_is_replaced_and_a_link_is_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    root = tmp_path / "root"
    root.mkdir()
    (root / "old").write_text("old")
    (root / "link").symlink_to(outside)
    await kept(FileTarget(root, "old", "id"), b"new")
    await kept(FileTarget(root, "link", "id"), b"new")
    assert (root / "old").read_text() == "new"
    assert (root / "link").read_text() == "new"
    assert not (root / "link").is_symlink()
    assert outside.read_text() == "precious"


async def test_no_folder_that_is_a_link_is_entered(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "folder").symlink_to(outside)
    target = FileTarget(root, "folder/file", "id")
    with pytest.raises(HandlerError) as raised:
        await target.open()
    await target.aclose()
    assert raised.value.code == "save_failed"
    assert os.listdir(outside) == []


@pytest.mark.parametrize("how", ["symbolic", "hard", "fifo"])
async def test_what_stands_in_the_place_of_the_unfinished_file_is_not_written_to(tmp_path: Path, how: str) -> None:
    """It may be of a run that was killed, or of somebody who knows the task's id."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.write_text("precious")
    match how:
        case "symbolic":
            (root / ".id.part").symlink_to(outside)
        case "hard":
            (root / ".id.part").hardlink_to(outside)
        case _:
            os.mkfifo(root / ".id.part")
    await kept(FileTarget(root, "file", "id"), b"new")
    assert outside.read_text() == "precious"
    assert (root / "file").read_text() == "new"
    assert os.listdir(root) == ["file"]


async def test_whoever_is_faster_does_not_get_the_unfinished_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link comes between the look and the creation."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.write_text("precious")
    real_open = os.open

    def swap(path: object, *args: object, **options: object) -> int:
        if path == ".id.part":
            (root / ".id.part").hardlink_to(outside)
        return real_open(path, *args, **options)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(os, "open", swap)
    target = FileTarget(root, "file", "id")
    with pytest.raises(HandlerError) as raised:
        await target.open()
    await target.aclose()
    monkeypatch.undo()
    assert raised.value.code == "save_failed"
    assert outside.read_text() == "precious"


async def test_an_unfinished_file_that_somebody_removed_is_not_missed(tmp_path: Path) -> None:
    target = FileTarget(tmp_path, "file", "id")
    await target.open()
    (tmp_path / ".id.part").unlink()
    await target.aclose()


async def test_a_directory_in_the_place_of_the_file_is_a_failure_that_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    target = FileTarget(tmp_path, "file", "id")
    await target.open()
    with pytest.raises(HandlerError, match="directory") as raised:
        await target.keep()
    await target.aclose()
    assert raised.value.code == "save_failed"
    assert os.listdir(tmp_path) == ["file"]


async def test_a_missing_root_is_a_failure_that_names_no_path(tmp_path: Path) -> None:
    target = FileTarget(tmp_path / "missing", "file", "id")
    with pytest.raises(HandlerError, match="No such file") as raised:
        await target.open()
    await target.aclose()
    assert str(tmp_path) not in raised.value.detail


@pytest.mark.parametrize(
    ("error", "text"), [(OSError(errno.ENOSPC, "x"), "No space left"), (OSError("odd"), "the disk failed")]
)
async def test_a_full_disk_is_a_failure_that_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, text: str
) -> None:
    def full(descriptor: int, data: object) -> int:
        raise error

    target = FileTarget(tmp_path, "file", "id")
    await target.open()
    await target.write(b"x")
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(HandlerError, match=text) as raised:
        await target.keep()
    monkeypatch.undo()
    await target.aclose()
    assert raised.value.code == "save_failed"
    assert os.listdir(tmp_path) == []


async def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    await kept(FileTarget(tmp_path, "file", "id"), b"0123456789")
    monkeypatch.undo()
    assert (tmp_path / "file").read_bytes() == b"0123456789"


async def test_a_cancel_during_a_write_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the file would be closed and its number given away, while a thread still writes to it."""
    write, begun, go_on = os.write, threading.Event(), threading.Event()

    def slow(descriptor: int, data: Any) -> int:
        begun.set()
        go_on.wait()
        return write(descriptor, data)

    target = FileTarget(tmp_path, "file", "id")
    await target.open()
    monkeypatch.setattr(os, "write", slow)
    task = asyncio.create_task(target.write(bytes(BLOCK_BYTES)))
    await in_thread(begun.wait)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    monkeypatch.undo()
    await target.aclose()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a", "a.txt", "a/b/c.tar.gz", "grüße ☃", "a b", "x" * 255])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/./b",
        ".hidden",
        "a/.hidden",
        "a\0b",
        "a\nb",
        "x" * 256,
        "é" * 128,
        "x/" * 600 + "x",
    ],
)
def test_names_that_could_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        check_name(name)
