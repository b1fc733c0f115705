from __future__ import annotations

import fnmatch
import hashlib
import os
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streaming.config import Settings
from streaming.engine.context import ThreadContext
from streaming.engine.registry import Registry, TaskType
from streaming.errors import HandlerError, InvalidParams, Stopped
from streaming.events import encode_payload
from streaming.tasks.checksum import (
    BATCH_FILES_MAX,
    BATCH_S,
    BLOCK_BYTES,
    SKIPPED_BYTES_MAX,
    SKIPPED_MAX,
    checksum,
)
from tests.tasks.conftest import Recorder, Stop

Run = Callable[..., dict[str, Any]]


class Clock:
    """A clock that stands still unless a test moves it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.step_s = 0.0

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def run(root: Path, thread_ctx: ThreadContext, clock: Clock) -> Run:
    """Run the handler over ``root``, or what is said instead."""

    def run(path: str | None = None, *, roots: list[Path] | None = None, **params: Any) -> dict[str, Any]:
        task_type = typed([root] if roots is None else roots, clock)
        arguments = task_type.arguments({"path": str(root) if path is None else path, **params})
        result: dict[str, Any] = task_type.handler(thread_ctx, **arguments)
        return result

    return run


def typed(roots: list[Path], clock: Clock | None = None) -> TaskType:
    return Registry().add(checksum(Settings(checksum_roots=roots), clock=clock or Clock()))


def put(root: Path, **content: bytes) -> None:
    for name, data in content.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def told(recorder: Recorder) -> dict[str, dict[str, Any]]:
    return {file["path"]: file for data in recorder.data("files") for file in data["files"]}


# -- what it hashes


def test_every_file_is_hashed_and_told(run: Run, root: Path, recorder: Recorder) -> None:
    put(root, a=b"hello", b__c=b"", b__d=b"world" * 1000)
    result = run()
    assert told(recorder) == {
        "a": {"path": "a", "bytes": 5, "digest": hashlib.sha256(b"hello").hexdigest()},
        "b/c": {"path": "b/c", "bytes": 0, "digest": hashlib.sha256(b"").hexdigest()},
        "b/d": {"path": "b/d", "bytes": 5000, "digest": hashlib.sha256(b"world" * 1000).hexdigest()},
    }
    assert (result["files"], result["bytes"], result["algorithm"]) == (3, 5005, "sha256")
    assert (result["skipped_count"], result["skipped"]) == (0, [])


def test_the_digest_is_that_of_what_sha256sum_prints(run: Run, root: Path) -> None:
    put(root, **{"a-b": b"1", "a__b": b"2", "a.c": b"3", "z": b"4", "B": b"5", "new\nline": b"6", "back\\slash": b"7"})
    put(root, **{"n\n__\\": b"8"})
    script = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    shell = subprocess.run(["bash", "-c", script], cwd=root, capture_output=True, text=True, check=True)  # noqa: S607  # found by PATH, as a person would
    assert run()["digest"] == shell.stdout.split()[0]


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha512", "sha3_256", "blake2b"])
def test_other_algorithms(run: Run, root: Path, recorder: Recorder, algorithm: str) -> None:
    put(root, a=b"hello")
    digest = hashlib.new(algorithm, b"hello").hexdigest()
    assert run(algorithm=algorithm)["digest"] == hashlib.new(algorithm, f"{digest}  a\n".encode()).hexdigest()
    assert told(recorder)["a"]["digest"] == digest


def test_an_empty_directory_has_the_hash_of_nothing(run: Run, recorder: Recorder) -> None:
    assert run()["digest"] == hashlib.sha256().hexdigest()
    assert recorder.told == []


@pytest.mark.parametrize(
    ("pattern", "files"),
    [("*.py", ["a.py", "b/c.py"]), ("b/*", ["b/c.py", "b/d.txt"]), ("?.py", ["a.py"]), ("[!ab]*", []), ("x", [])],
)
def test_a_pattern_chooses_files_by_their_relative_path(
    run: Run, root: Path, recorder: Recorder, pattern: str, files: list[str]
) -> None:
    put(root, **{"a.py": b"1", "b__c.py": b"2", "b__d.txt": b"3"})
    assert run(pattern=pattern)["files"] == len(files)
    assert list(told(recorder)) == files


def test_a_directory_below_a_root(run: Run, root: Path, recorder: Recorder) -> None:
    put(root, a=b"1", b__c__d=b"2")
    run(str(root / "b"))
    assert list(told(recorder)) == ["c/d"]


def test_a_relative_path_is_looked_for_below_each_root(
    run: Run, root: Path, tmp_path: Path, recorder: Recorder
) -> None:
    put(tmp_path, other__sub__file=b"1")
    run("sub", roots=[root, tmp_path / "other"])
    assert list(told(recorder)) == ["file"]


def test_a_root_may_be_named_by_a_link_and_by_what_it_links_to(run: Run, root: Path, tmp_path: Path) -> None:
    put(root, a=b"1")
    (tmp_path / "link").symlink_to(root)
    assert run(str(tmp_path / "link"), roots=[tmp_path / "link"])["files"] == 1
    assert run(str(root), roots=[tmp_path / "link"])["files"] == 1


def test_names_that_are_not_utf_8_are_hashed_as_they_are_and_shown_readably(
    run: Run, root: Path, recorder: Recorder
) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/\xff")).write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    assert run()["digest"] == hashlib.sha256(digest.encode() + b"  \xff\n").hexdigest()
    assert list(told(recorder)) == ["\\xff"]


# -- what it leaves out


def test_links_lead_nowhere(run: Run, root: Path, tmp_path: Path, recorder: Recorder) -> None:
    put(tmp_path, outside__secret=b"1")
    put(root, a=b"1")
    (root / "file").symlink_to(tmp_path / "outside/secret")
    (root / "folder").symlink_to(tmp_path / "outside")
    os.mkfifo(root / "fifo")
    result = run()
    assert list(told(recorder)) == ["a"]
    assert result["skipped_count"] == 3
    assert sorted(result["skipped"], key=lambda entry: str(entry["path"])) == [
        {"path": "fifo", "reason": "not a regular file"},
        {"path": "file", "reason": "symbolic link"},
        {"path": "folder", "reason": "symbolic link"},
    ]


def test_files_that_vanish_or_cannot_be_read_are_reported_and_the_rest_is_hashed(
    run: Run, root: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root, a=b"1", b=b"2", c=b"3", d=b"4")
    real_open, real_read = os.open, os.readv
    broken: list[int] = []

    def play_open(path: object, *args: object, **options: object) -> int:
        if path == b"a":
            (root / "a").unlink()
        if path == b"b":
            raise PermissionError(13, "x")
        descriptor = real_open(path, *args, **options)  # type: ignore[arg-type]  # passed on as it came
        if path == b"c":
            broken.append(descriptor)
        return descriptor

    def play_read(descriptor: int, buffers: Any) -> int:
        if descriptor in broken:
            broken.clear()
            raise OSError(5, "x")
        return real_read(descriptor, buffers)

    monkeypatch.setattr(os, "open", play_open)
    monkeypatch.setattr(os, "readv", play_read)
    result = run()
    monkeypatch.undo()
    assert list(told(recorder)) == ["d"]
    assert result["skipped"] == [
        {"path": "a", "reason": "vanished"},
        {"path": "b", "reason": "permission denied"},
        {"path": "c", "reason": "input/output error"},
    ]
    assert recorder.data("progress")[-1]["percent"] == 100.0


def test_the_list_of_what_was_left_out_is_bounded_and_the_count_is_not(run: Run, root: Path) -> None:
    for number in range(SKIPPED_MAX + 20):
        (root / f"{number}").symlink_to("x")
    result = run()
    assert result["skipped_count"] == SKIPPED_MAX + 20
    assert len(result["skipped"]) == SKIPPED_MAX

    for number in range(SKIPPED_MAX):
        (root / f"{number}").unlink()
        (root / (f"{number}-" + "\x01" * 240)).symlink_to("x")
    result = run()
    assert result["skipped_count"] == SKIPPED_MAX + 20
    assert len(encode_payload(result["skipped"])) <= SKIPPED_BYTES_MAX + 2


def test_a_return_in_a_name_is_escaped_as_newer_tools_do(run: Run, root: Path) -> None:
    put(root, **{"a\r": b""})
    digest = hashlib.sha256(b"").hexdigest()
    assert run()["digest"] == hashlib.sha256(f"\\{digest}  a\\r\n".encode()).hexdigest()


def test_no_name_looks_like_another_file(run: Run, root: Path, recorder: Recorder) -> None:
    """Two trees with the same digest would be one to whoever compares them."""
    digest = hashlib.sha256(b"").hexdigest()
    put(root, **{f"a\n{digest}  b": b""})
    one = run()["digest"]
    assert list(told(recorder)) == [f"a\n{digest}  b"]
    (root / f"a\n{digest}  b").unlink()
    put(root, a=b"", b=b"")
    assert run()["digest"] != one


@pytest.mark.parametrize("pattern", ["*a" * 127 + "b", "*?" * 127, "[!b]*" * 51, "?*" * 127 + "b"])
def test_no_pattern_takes_long(run: Run, root: Path, pattern: str) -> None:
    put(root, **{"a" * 255: b"1"})
    run(pattern=pattern)


def test_a_pattern_is_kept_for_its_run_only(run: Run, root: Path) -> None:
    """The standard library would keep tens of thousands of them."""
    put(root, a=b"1")
    before = fnmatch._compile_pattern.cache_info().currsize  # type: ignore[attr-defined]  # it is not public
    run(pattern="x*y")
    assert fnmatch._compile_pattern.cache_info().currsize == before  # type: ignore[attr-defined]  # it is not public


# -- limits


@pytest.mark.parametrize(("most", "fits"), [(6, True), (5, False)])
def test_so_many_entries_are_looked_at_and_not_one_more(
    root: Path, thread_ctx: ThreadContext, most: int, fits: bool
) -> None:
    """Directories and what is left out count as well."""
    put(root, a=b"1", b__c=b"2", b__d=b"3")
    (root / "link").symlink_to("a")
    os.mkfifo(root / "fifo")
    hash_files = checksum(Settings(checksum_roots=[root], checksum_entries_max=most))
    if fits:
        assert hash_files(thread_ctx, str(root))["files"] == 3
    else:
        with pytest.raises(HandlerError, match="STREAMING_CHECKSUM_ENTRIES_MAX") as raised:
            hash_files(thread_ctx, str(root), pattern="a")
        assert raised.value.code == "too_many_files"


@pytest.mark.parametrize(("most", "fits"), [(10, True), (9, False)])
def test_so_many_bytes_are_read_and_not_one_more(
    root: Path, thread_ctx: ThreadContext, recorder: Recorder, most: int, fits: bool
) -> None:
    put(root, a=b"12345", b=b"12345")
    hash_files = checksum(Settings(checksum_roots=[root], checksum_bytes_max=most))
    if fits:
        assert hash_files(thread_ctx, str(root))["bytes"] == 10
    else:
        with pytest.raises(HandlerError, match="STREAMING_CHECKSUM_BYTES_MAX") as raised:
            hash_files(thread_ctx, str(root))
        assert raised.value.code == "too_large"
        assert recorder.told == []


def test_a_file_that_claims_to_be_huge_is_not_even_begun(root: Path, thread_ctx: ThreadContext) -> None:
    """It takes no room on the disk, and days to read."""
    with open(root / "sparse", "wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(HandlerError) as raised:
        checksum(Settings(checksum_roots=[root]))(thread_ctx, str(root))
    assert raised.value.code == "too_large"


def test_a_file_that_grows_while_it_is_read_is_not_read_for_ever(
    root: Path, thread_ctx: ThreadContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root, a=b"1")
    monkeypatch.setattr(os, "readv", lambda descriptor, buffers: len(buffers[0]))
    with pytest.raises(HandlerError) as raised:
        checksum(Settings(checksum_roots=[root], checksum_bytes_max=5 * BLOCK_BYTES))(thread_ctx, str(root))
    assert raised.value.code == "too_large"


# -- how it tells


def test_files_are_told_in_batches(run: Run, root: Path, recorder: Recorder) -> None:
    for number in range(BATCH_FILES_MAX + 5):
        put(root, **{f"{number}": b""})
    run()
    assert [len(data["files"]) for data in recorder.data("files")] == [BATCH_FILES_MAX, 5]


def test_a_batch_is_bounded_in_bytes(root: Path, thread_ctx: ThreadContext, recorder: Recorder) -> None:
    put(root, **{f"{number}-" + "x" * 200: b"" for number in range(20)})
    checksum(Settings(checksum_roots=[root], event_bytes_max=2000))(thread_ctx, str(root))
    assert len(told(recorder)) == 20
    assert all(len(encode_payload(data)) <= 2000 for data in recorder.data("files"))


def test_a_batch_does_not_wait_for_slow_files(run: Run, root: Path, recorder: Recorder, clock: Clock) -> None:
    """The clock moves with every look at it: the small file is due while the large one is still read."""
    put(root, a=b"1", b=bytes(4 * BLOCK_BYTES))
    clock.step_s = BATCH_S / 2
    run()
    kinds = [type for type, _ in recorder.told]
    assert recorder.data("files")[0]["files"][0]["path"] == "a"
    assert "progress" in kinds[kinds.index("files") + 1 :]


def test_progress_is_told_by_bytes(run: Run, root: Path, recorder: Recorder) -> None:
    put(root, a=bytes(BLOCK_BYTES), b=bytes(2 * BLOCK_BYTES), c=bytes(BLOCK_BYTES))
    run()
    assert [data["percent"] for data in recorder.data("progress")] == [25.0, 50.0, 75.0, 100.0]
    assert recorder.data("progress")[1]["message"] == "2.0 MiB of 4.0 MiB"


def test_it_stops_between_two_blocks(run: Run, root: Path, recorder: Recorder, stop: Stop) -> None:
    put(root, a=bytes(10 * BLOCK_BYTES))
    stop.after_checks = 6
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(Stopped):
        run()
    assert recorder.data("files") == []
    assert [data["percent"] for data in recorder.data("progress")] == [10.0, 20.0]
    assert set(os.listdir("/proc/self/fd")) == before


def test_it_stops_between_two_files(run: Run, root: Path, stop: Stop) -> None:
    put(root, a=b"1", b=b"2")
    stop.now = True
    with pytest.raises(Stopped):
        run()


# -- where it may read


def test_without_roots_it_names_the_setting(run: Run) -> None:
    with pytest.raises(HandlerError, match="STREAMING_CHECKSUM_ROOTS") as raised:
        run("/", roots=[])
    assert raised.value.code == "not_configured"


@pytest.mark.parametrize("path", ["/", "/etc", "..", "../x", "sub/../..", "{root}/..", "{root}/../root", "{root}x"])
def test_nothing_outside_of_the_roots_is_looked_at(run: Run, root: Path, path: str) -> None:
    wanted = path.format(root=root)
    with pytest.raises(HandlerError, match="STREAMING_CHECKSUM_ROOTS") as raised:
        run(wanted)
    assert raised.value.code == "path_not_allowed"
    assert str(root) not in raised.value.detail.replace(wanted, "")


@pytest.mark.parametrize("path", ["missing", "{root}/missing", "file", "link", "link/sub", "x" * 300])
def test_what_is_no_directory_inside_is_not_found(run: Run, root: Path, tmp_path: Path, path: str) -> None:
    put(root, file=b"1")
    (tmp_path / "outside/sub").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "outside")
    wanted = path.format(root=root)
    with pytest.raises(HandlerError) as raised:
        run(wanted)
    assert raised.value.code == "path_not_found"
    assert str(root) not in raised.value.detail.replace(wanted, "")


@pytest.mark.parametrize("path", ["/proc/self/fd", "/proc/self/root", "/proc/self/cwd", "/dev/fd", "proc/self/fd"])
def test_no_way_leads_through_the_files_that_the_server_has_open(run: Run, path: str) -> None:
    """Not even where everything is allowed: these are links, or lie behind one."""
    with pytest.raises(HandlerError) as raised:
        run(path, roots=[Path("/")])
    assert raised.value.code == "path_not_found"


@pytest.mark.parametrize("swapped", ["a", "b", "c"])
def test_a_directory_on_the_way_that_becomes_a_link_leads_nowhere(
    run: Run, root: Path, tmp_path: Path, recorder: Recorder, swapped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The swap happens right before it is opened: whatever has been looked at before does not help."""
    put(root, a__b__c__file=b"1")
    put(tmp_path, outside__b__c__file=b"secret", outside__c__file=b"secret", outside__file=b"secret")
    real_open = os.open

    def swap(path: object, *args: object, **options: object) -> int:
        if path == swapped:
            place = next(root.rglob(swapped))
            place.rename(root / "moved")
            place.symlink_to(tmp_path / "outside")
        return real_open(path, *args, **options)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(HandlerError) as raised:
        run("a/b/c")
    monkeypatch.undo()
    assert raised.value.code == "path_not_found"
    assert recorder.told == []


@pytest.mark.parametrize("swap", ["link", "hard link", "fifo", "socket", "device", "directory"])
def test_a_file_that_becomes_something_else_is_not_read_or_waited_for(
    run: Run, root: Path, tmp_path: Path, recorder: Recorder, swap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the opening. A hard link is a file as any other: whoever makes one may have read it."""
    put(root, file=b"1")
    put(tmp_path, outside=b"secret")
    real_open = os.open

    def play(path: object, *args: object, **options: object) -> int:
        if path == b"file":
            (root / "file").unlink()
            match swap:
                case "link":
                    (root / "file").symlink_to(tmp_path / "outside")
                case "hard link":
                    (root / "file").hardlink_to(tmp_path / "outside")
                case "fifo":
                    os.mkfifo(root / "file")
                case "socket":
                    with socket.socket(socket.AF_UNIX) as server:
                        server.bind(f"/proc/self/fd/{options['dir_fd']}/file")
                case "device":
                    try:
                        os.mknod(root / "file", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
                    except PermissionError:
                        pytest.skip("only root makes devices")
                case _:
                    (root / "file").mkdir()
        return real_open(path, *args, **options)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(os, "open", play)
    result = run()
    monkeypatch.undo()
    assert result["files"] == (1 if swap == "hard link" else 0)
    assert result["skipped_count"] == 1 - result["files"]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"path": ""},
        {"path": "\ud800"},
        {"path": "a\0b"},
        {"path": "x" * 5000},
        {"path": 1},
        {"path": "a", "algorithm": "crc32"},
        {"path": "a", "pattern": ""},
        {"path": "a", "depth": 1},
    ],
)
def test_senseless_parameters_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams):
        typed([]).validate(params)
