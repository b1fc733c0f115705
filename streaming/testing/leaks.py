"""What a handler leaves behind: files, sockets, threads and processes.

Rules of this file:

- What the garbage collector closes was left behind as well: nobody else had closed it.
- Only what a handler itself has opened counts. What nobody is known to have opened counts if no other thread of the
  process could have.
- A thread or a process that is just ending gets a moment.

Owns:   the comparison of before and after, and the line for each thing.
Uses:   testing.origins (who has opened it), testing.threads (who works).
Never:  closes or joins anything.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import threading
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from streaming.testing.origins import Origins
from streaming.testing.place import own_place_of_thread
from streaming.testing.threads import at_work
from streaming.testing.verdict import Kind, Sighting

#: Where the kernel lists the descriptors of a process.
_LISTS = ("/proc/self/fd", "/dev/fd")

#: Threads in which asyncio waits for a process: it is the process that counts.
_WAITERS = "asyncio-waitpid-"

UNKNOWN = "a line that is not known"

_NUMBER = re.compile(r"\d+")


def descriptors() -> frozenset[int]:
    """The file descriptors that are open."""
    for folder in _LISTS:
        if os.path.isdir(folder):
            return frozenset(number for number in map(int, os.listdir(folder)) if _is_open(number))
    return frozenset(number for number in range(1024) if _is_open(number))


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


class Leaks:
    """What was open before a run, to be compared with what is open after it.

    Args:
        origins: who opens what meanwhile.
    """

    def __init__(self, origins: Origins) -> None:
        self._origins = origins
        self._alone = threading.active_count() == 1
        self._before = descriptors()
        self._opened: dict[int, str] = {}

    def look(self, where: str) -> None:
        """See what a step of the handler has opened: of a pipe, say, the interpreter tells nobody.

        Args:
            where: the line at which the step has ended.
        """
        self._opened = {number: self._opened.get(number, where) for number in self.open_now()}

    def open_now(self) -> frozenset[int]:
        """The descriptors that have come since, and are still open."""
        return descriptors() - self._before

    def working(self) -> Iterator[Sighting]:
        """Threads and processes that go on."""
        for thread, place in self._origins.threads.items():
            if thread.ident is not None and at_work(thread.ident) and not thread.name.startswith(_WAITERS):
                own = own_place_of_thread(thread.ident)
                yield Sighting(Kind.LEAKED_THREAD, own or place, f"its thread was started at {place}" if own else "")
        for process, place in self._origins.living(subprocess.Popen):
            if _runs(process):
                yield Sighting(Kind.LEAKED_PROCESS, place, f"it runs {_program(process)}")

    def kill(self) -> None:
        """End the processes that go on: there are many runs."""
        for process, _ in self._origins.living(subprocess.Popen):
            if _runs(process):
                process.kill()

    def files(self) -> Iterator[Sighting]:
        """Sockets and files that are still open."""
        sockets = {each.fileno(): place for each, place in self._origins.living(socket.socket)}
        pipes = {
            pipe.fileno(): place
            for process, place in self._origins.living(subprocess.Popen)
            for pipe in (process.stdin, process.stdout, process.stderr)
            if pipe is not None and not pipe.closed
        }
        for number in sorted(self.open_now()):
            if number in sockets:
                yield Sighting(Kind.LEAKED_SOCKET, sockets[number])
            elif number in pipes:
                yield Sighting(Kind.LEAKED_FILE, pipes[number], "the pipe of a process")
            else:
                yield from self._file(number)

    def _file(self, number: int) -> Iterator[Sighting]:
        try:
            status = os.fstat(number)
        except OSError:  # it was closed just now
            return
        for path, place in reversed(self._origins.files.items()):
            if _is_at(path, number, status):
                yield Sighting(Kind.LEAKED_FILE, place, Path(path).name)
                return
        if self._alone and (found := _target(number)) is not None:
            kind = Kind.LEAKED_SOCKET if stat.S_ISSOCK(status.st_mode) else Kind.LEAKED_FILE
            step = self._opened.get(number, "")
            detail = f"{_NUMBER.sub('N', found)}{', opened in the step that ends here' if step else ''}"
            yield Sighting(kind, step or UNKNOWN, detail)

    def collected(self, warned: Iterable[warnings.WarningMessage]) -> Iterator[Sighting]:
        """What the garbage collector had to close."""
        for warning in warned:
            if not issubclass(warning.category, ResourceWarning):
                continue
            source = warning.source
            inner = getattr(source, "_sock", source)
            if (found := self._origins.objects.get(id(inner))) is not None:
                kind = Kind.LEAKED_PROCESS if isinstance(inner, subprocess.Popen) else Kind.LEAKED_SOCKET
                yield Sighting(kind, found[1], "nobody but the garbage collector has closed it")
            elif (place := self._origins.files.get(str(getattr(source, "name", "")))) is not None:
                yield Sighting(Kind.LEAKED_FILE, place, "nobody but the garbage collector has closed it")


def _runs(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process runs; one that has ended, and that nobody has waited for, does not."""
    if process.returncode is not None:
        return False
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except (ChildProcessError, AttributeError):  # somebody else has waited for it; or it was never started
        return False


def _program(process: subprocess.Popen[bytes]) -> str:
    args = process.args
    words = args if isinstance(args, list | tuple) else [args]
    return Path(os.fsdecode(words[0])).name  # type: ignore[arg-type]  # whatever it is, it is a path


def _is_at(path: str, number: int, status: os.stat_result) -> bool:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        target = _target(number)  # its name may be relative to a folder that is not ours, or gone
        return target is not None and Path(target).name == Path(path).name != ""
    return (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino)


def _target(number: int) -> str | None:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return "an open descriptor" if _is_open(number) else None
