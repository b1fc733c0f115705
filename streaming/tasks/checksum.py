"""Hash every file below a directory.

Owns:   the task type ``checksum``: which directories it may read, its events and its result.
Uses:   tasks.tree (the files), tasks.below (the way to them), tasks.meter (progress).
Never:  names a path of the server that the client did not send.

The handler runs in a thread: it blocks, and asks between blocks whether it is to stop.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from streaming.config import Settings
from streaming.engine.context import ThreadContext
from streaming.engine.registry import task
from streaming.errors import HandlerError
from streaming.events import encode_payload
from streaming.tasks.below import open_below
from streaming.tasks.meter import Meter, readable
from streaming.tasks.tree import Entry, Skip, blocks, reason, walk

BLOCK_BYTES = 1_048_576

#: Files are told in batches: one event is full at so many files or bytes, and is sent at the latest after this time.
BATCH_FILES_MAX = 200
BATCH_BYTES_MAX = 65_536
BATCH_S = 1.0

#: The result names so many of the files that were left out, and counts them all.
SKIPPED_MAX = 100
SKIPPED_BYTES_MAX = 32_768

Algorithm = Literal["sha256", "sha512", "sha1", "md5", "sha224", "sha384", "sha3_256", "sha3_512", "blake2b", "blake2s"]
Folder = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4096,
        pattern=r"^[^\x00]*$",
        description="A directory: an absolute path, or one relative to a directory that the operator allows.",
    ),
]
Pattern = Annotated[
    str,
    Field(
        min_length=1,
        max_length=255,
        description="Only files whose relative path fits, such as *.py; * fits a slash, too.",
    ),
]


def checksum(settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> Callable[..., Any]:
    """Build the handler of ``checksum``.

    Args:
        settings: its ``checksum_...`` and ``event_bytes_max`` are used.
        clock: says when a batch is due, in seconds.
    """
    roots = tuple(settings.checksum_roots)
    batch_bytes_max = min(BATCH_BYTES_MAX, settings.event_bytes_max // 2)

    @task("checksum", run_in="thread")
    def hash_files(
        ctx: ThreadContext, path: Folder, algorithm: Algorithm = "sha256", pattern: Pattern | None = None
    ) -> dict[str, Any]:
        """Hash every regular file below a directory that the operator has allowed; links are not followed.

        Emits ``files`` with ``path``, ``bytes`` and ``digest`` of some files at a time, and progress by bytes.

        Returns:
            ``files``, ``bytes``, ``algorithm``, ``skipped_count``, the first of the ``skipped`` with their reasons,
            and ``digest``: the hash of one line ``<digest>  <path>`` for each file, in the order of the paths' bytes,
            which is what ``sha256sum`` prints for the same files.
        """
        with _opened(roots, path) as folder:
            batch = _Batch(ctx, batch_bytes_max, clock)
            most = _Most(settings.checksum_entries_max, settings.checksum_bytes_max)
            return _Run(ctx, algorithm, pattern, batch, most).run(folder)

    return hash_files


@contextmanager
def _opened(roots: Sequence[Path], path: str) -> Iterator[int]:
    if not roots:
        raise HandlerError(
            "not_configured",
            "This server reads no directories: the operator has to name some with STREAMING_CHECKSUM_ROOTS.",
        )
    descents = [(root, parts) for root in roots if (parts := _parts_below(root, path)) is not None]
    if not descents:
        raise HandlerError(
            "path_not_allowed",
            f"{path!r} is not below a directory that the operator allows with STREAMING_CHECKSUM_ROOTS.",
        )
    folder = _open_first(descents, path)
    try:
        yield folder
    finally:
        os.close(folder)


def _parts_below(root: Path, path: str) -> Sequence[str] | None:
    """The way from a root to a path, by their words alone; None if there is none."""
    wanted = Path(path)
    if ".." in wanted.parts:
        return None
    if not wanted.is_absolute():
        return wanted.parts
    for start in (root, root.resolve()):
        if wanted.is_relative_to(start):
            return wanted.relative_to(start).parts
    return None


def _open_first(descents: Sequence[tuple[Path, Sequence[str]]], path: str) -> int:
    for root, parts in descents:
        with suppress(OSError):  # a relative path may be below another root
            return open_below(root, parts)
    raise HandlerError("path_not_found", f"{path!r} cannot be opened as a directory. Symbolic links are not followed.")


@dataclass(frozen=True, slots=True)
class _Most:
    """So many entries are looked at, and so many bytes read, at most."""

    entries: int
    bytes: int

    def hold_entries(self, count: int) -> None:
        if count > self.entries:
            raise HandlerError(
                "too_many_files",
                f"There are more than {self.entries} files, directories and links here, "
                "the limit of STREAMING_CHECKSUM_ENTRIES_MAX.",
            )

    def hold_bytes(self, size: int) -> None:
        if size > self.bytes:
            raise HandlerError(
                "too_large",
                f"The files have more than {readable(self.bytes)}, the limit of STREAMING_CHECKSUM_BYTES_MAX.",
            )


class _Run:
    """One run over one directory."""

    def __init__(self, ctx: ThreadContext, algorithm: str, pattern: str | None, batch: _Batch, most: _Most) -> None:
        self._ctx = ctx
        self._algorithm = algorithm
        # Compiled here, once: the module has a cache for the patterns of all clients, and that is a large one.
        self._fits = None if pattern is None else re.compile(translate(pattern)).match
        self._batch = batch
        self._most = most
        self._skipped = _Skipped()
        self._meter = Meter(0)
        self._block = bytearray(BLOCK_BYTES)
        self._combined = self._new_hash()
        self._files = 0
        self._bytes = 0
        self._total = 0
        self._before = 0  # of the total, the sizes of the files that have been dealt with

    def run(self, folder: int) -> dict[str, Any]:
        for entry in self._entries(folder, lambda path, why: None):
            self._total += entry.size
            self._most.hold_bytes(self._total)
        self._meter = Meter(self._total)
        for entry in self._entries(folder, self._skipped.add):
            self._hash(entry)
            self._before += entry.size
        self._batch.flush()
        return {
            "files": self._files,
            "bytes": self._bytes,
            "algorithm": self._algorithm,
            "digest": self._combined.hexdigest(),
            "skipped_count": self._skipped.count,
            "skipped": self._skipped.first,
        }

    def _entries(self, folder: int, skip: Skip) -> Iterator[Entry]:
        seen = itertools.count(1)

        def count() -> None:
            self._ctx.check()
            self._most.hold_entries(next(seen))

        with closing(walk(folder, skip, count)) as entries:
            for entry in entries:
                self._ctx.check()
                if self._fits is None or self._fits(os.fsdecode(entry.path)):
                    yield entry

    def _hash(self, entry: Entry) -> None:
        hashed = self._new_hash()
        size = 0
        try:
            with closing(blocks(entry, self._block)) as content:
                for block in content:
                    hashed.update(block)
                    size += len(block)
                    self._most.hold_bytes(self._bytes + size)  # it may have grown since
                    self._advance(min(size, entry.size))
        except OSError as error:
            self._skipped.add(entry.path, reason(error))
            return
        digest = hashed.hexdigest()
        self._combined.update(_line(digest.encode(), entry.path))
        self._files += 1
        self._bytes += size
        self._batch.add({"path": _shown(entry.path), "bytes": size, "digest": digest})

    def _advance(self, size: int) -> None:
        """Between two blocks: stop if asked to, and tell what is due."""
        self._ctx.check()
        self._batch.flush_if_due()
        done = self._before + size
        percent = self._meter.reached(done)
        if percent is not None:
            self._ctx.progress(percent, f"{readable(done)} of {readable(self._total)}")

    def _new_hash(self) -> Any:
        return hashlib.new(self._algorithm, usedforsecurity=False)


class _Batch:
    """Files that have not been told yet."""

    def __init__(self, ctx: ThreadContext, bytes_max: int, clock: Callable[[], float]) -> None:
        self._ctx = ctx
        self._bytes_max = bytes_max
        self._clock = clock
        self._files: list[dict[str, Any]] = []
        self._bytes = 0
        self._due_s = clock() + BATCH_S

    def add(self, file: dict[str, Any]) -> None:
        size = len(encode_payload(file).encode()) + 1
        if self._bytes + size > self._bytes_max:
            self.flush()
        self._files.append(file)
        self._bytes += size
        if len(self._files) >= BATCH_FILES_MAX:
            self.flush()
        self.flush_if_due()

    def flush_if_due(self) -> None:
        if self._clock() >= self._due_s:
            self.flush()

    def flush(self) -> None:
        if self._files:
            self._ctx.emit("files", {"files": self._files})
        self._files, self._bytes = [], 0
        self._due_s = self._clock() + BATCH_S


class _Skipped:
    """What was left out: all of it counted, the first of it named."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[dict[str, str]] = []
        self._bytes = 0

    def add(self, path: bytes, why: str) -> None:
        self.count += 1
        entry = {"path": _shown(path), "reason": why}
        self._bytes += len(encode_payload(entry).encode()) + 1
        if len(self.first) < SKIPPED_MAX and self._bytes <= SKIPPED_BYTES_MAX:
            self.first.append(entry)


def _line(digest: bytes, path: bytes) -> bytes:
    """As ``sha256sum`` writes it, so that no name can look like a line of its own."""
    escaped = path.replace(b"\\", rb"\\").replace(b"\n", rb"\n").replace(b"\r", rb"\r")
    return b"%s%s  %s\n" % (b"" if escaped == path else b"\\", digest, escaped)


def _shown(path: bytes) -> str:
    """A path as text; bytes that are not UTF-8 are shown by their hexadecimal digits."""
    return path.decode(errors="backslashreplace")
