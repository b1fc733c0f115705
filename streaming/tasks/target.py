"""Where a download goes: into the task's result, or into a file.

Owns:   the bytes on their way, their hash, and the file that appears whole or not at all.
Uses:   tasks.below (so that a file lands below its root and nowhere else).
Never:  counts against ``fetch_bytes_max`` (``tasks.fetch``), or blocks the loop with a disk.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from streaming.errors import HandlerError
from streaming.events import encode_payload
from streaming.tasks.background import finish, in_thread
from streaming.tasks.below import open_below
from streaming.tasks.meter import readable

#: A file is written in blocks of this size: one thread each.
BLOCK_BYTES = 1_048_576
NAME_LENGTH_MAX = 1024

#: Stands for a file descriptor that is not open.
_CLOSED = -1


def check_name(name: str) -> str:
    """Check the name of a file to save.

    Args:
        name: relative path, with ``/`` between folders and file.

    Returns:
        The name.

    Raises:
        ValueError: it could lead elsewhere, or cannot be a name; the message says why.
    """
    if len(name) > NAME_LENGTH_MAX or not name.isprintable():
        raise ValueError(f"a name has at most {NAME_LENGTH_MAX} printable characters")
    for part in name.split("/"):
        if not part or part.startswith("."):
            raise ValueError("a name is relative, and no part of it is empty or begins with a dot")
        if len(part.encode()) > 255:
            raise ValueError("a part of a name has at most 255 bytes")
    return name


class Target(Protocol):
    """Takes the pieces of one body."""

    async def open(self) -> None:
        """Make ready."""

    async def write(self, piece: bytes) -> None:
        """Take some bytes."""

    async def keep(self) -> dict[str, Any]:
        """Make the body last, and say for the task's result where it is, with its ``sha256``."""

    async def aclose(self) -> None:
        """Leave nothing behind of what was not kept."""


class ResultTarget:
    """Keeps a body in the task's result: as text where it is text, in base64 otherwise.

    Args:
        result_bytes_max: bytes of JSON that a result may have. A body may have half as many: in base64 it grows by
            a third, and the rest of the result needs room as well.
    """

    def __init__(self, result_bytes_max: int) -> None:
        self._bytes_max = result_bytes_max // 2
        self._text_bytes_max = result_bytes_max * 2 // 3
        self._body = bytearray()

    async def open(self) -> None:
        """Nothing is needed."""

    async def write(self, piece: bytes) -> None:
        """Take some bytes.

        Raises:
            HandlerError: ``too_large``.
        """
        if len(self._body) + len(piece) > self._bytes_max:
            raise HandlerError(
                "too_large",
                f"The body has more than {readable(self._bytes_max)}, the most that fits in a result "
                "(half of STREAMING_EVENT_BYTES_MAX). Give save_as to keep it in a file.",
            )
        self._body += piece

    async def keep(self) -> dict[str, Any]:
        """The body, and how it is encoded."""
        body = bytes(self._body)
        text = self._as_text(body)
        return {
            "sha256": hashlib.sha256(body).hexdigest(),
            "encoding": "base64" if text is None else "text",
            "body": base64.b64encode(body).decode() if text is None else text,
        }

    async def aclose(self) -> None:
        """Nothing is left anyway."""

    def _as_text(self, body: bytes) -> str | None:
        """Text that JSON and every store can carry, and that escaping does not blow up; else None."""
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return None
        if "\0" in text or len(encode_payload(text).encode()) > self._text_bytes_max:
            return None
        return text


class FileTarget:
    """Writes a body to a file below a directory; an older file of that name is replaced in one step.

    Args:
        root: the directory.
        name: relative path of the file, checked: no part is empty or begins with a dot.
        unique: part of the name that the unfinished file has.
    """

    def __init__(self, root: Path, name: str, unique: str) -> None:
        self._root = root
        self._name = name
        *self._folders, self._file_name = name.split("/")
        self._part_name = f".{unique}.part"
        self._block = bytearray()
        self._hash = hashlib.sha256()
        self._folder = _CLOSED
        self._file = _CLOSED
        self._published = False

    async def open(self) -> None:
        """Create the unfinished file, and the folders it is to stand in.

        Raises:
            HandlerError: ``save_failed``.
        """
        await self._do(self._create)

    async def write(self, piece: bytes) -> None:
        """Take some bytes.

        Raises:
            HandlerError: ``save_failed``.
        """
        self._block += piece
        if len(self._block) >= BLOCK_BYTES:
            await self._do(self._flush)

    async def keep(self) -> dict[str, Any]:
        """Give the file its name, once it is on the disk.

        Raises:
            HandlerError: ``save_failed``.
        """
        await self._do(self._publish)
        return {"sha256": self._hash.hexdigest(), "saved_as": self._name}

    async def aclose(self) -> None:
        """Remove the file if it is not finished."""
        await self._do(self._remove)

    async def _do(self, action: Callable[[], None]) -> None:
        try:
            await finish(in_thread(action))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else "the disk failed"
            raise HandlerError("save_failed", f"{self._name!r} cannot be saved: {reason}.") from error

    def _create(self) -> None:
        self._folder = open_below(self._root, self._folders, make=True)
        with contextlib.suppress(FileNotFoundError):  # of a run that was killed; whatever it is, it is not written to
            os.unlink(self._part_name, dir_fd=self._folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(self._part_name, flags, 0o666, dir_fd=self._folder)

    def _flush(self) -> None:
        self._hash.update(self._block)
        with memoryview(self._block) as block:
            written = 0
            while written < len(block):
                written += os.write(self._file, block[written:])
        self._block = bytearray()

    def _publish(self) -> None:
        self._flush()
        os.fsync(self._file)
        os.replace(self._part_name, self._file_name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._published = True
        os.fsync(self._folder)

    def _remove(self) -> None:
        if self._file != _CLOSED:
            os.close(self._file)
            if not self._published:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._part_name, dir_fd=self._folder)
        if self._folder != _CLOSED:
            os.close(self._folder)
        self._file = self._folder = _CLOSED
