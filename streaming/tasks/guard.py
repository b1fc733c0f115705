"""Let nothing of a program outlive the server, however the server ends.

A shell waits at a pipe of which only this process holds the other end. When this process is gone, also after
``kill -9``, the kernel breaks the pipe, and the shell kills the group that it was given. The group is whole then:
its number is nobody else's, because its first process is reaped only after `Guard.release`.

One gap is left. A program runs before its number is known here, by some milliseconds if the interpreter is busy; a
server that is killed in them leaves it behind. To close it, programs would have to be started by another process.

Owns:   the shell, and what it does.
Never:  kills a group while the server lives: `tasks.program` does.
"""

from __future__ import annotations

import contextlib
import subprocess

#: It is not told that all is over: it is killed before. Signals that mean the server do not move it.
_SCRIPT = 'trap "" HUP INT TERM; read -r group && { read -r over || kill -KILL "-$group"; }'


class Guard:
    """Waits for the end of this process; made before there is anything to guard, so that no time is lost then.

    Raises:
        OSError: there is no shell, or no room for another process.
    """

    def __init__(self) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        """Guard this process group from now on."""
        assert self._shell.stdin is not None  # noqa: S101  # it is a pipe
        with contextlib.suppress(BrokenPipeError):  # somebody has killed the guard: there is none, then
            self._shell.stdin.write(b"%d\n" % group)

    def release(self) -> None:
        """Guard no more; again is fine."""
        assert self._shell.stdin is not None  # noqa: S101  # it is a pipe
        self._shell.kill()
        self._shell.stdin.close()
        self._shell.wait()  # it was killed: this only reaps it
