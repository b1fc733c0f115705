"""A process beside each program: it starts the program, and lets nothing of it outlive its task or the server.

It is run by its path, in a process that has nothing of the server but this file. It imports little, so that it begins
soon: not `contextlib`, not `collections`, not `signal`, each of which would take half as long again. The server and it
talk over a socket, its standard input:

    from the server   ``T``: tell them to end; ``K``, or the end of the socket: kill them
    to the server     ``started PID``, or ``failed ERRNO``; later ``exited STATUS``, where a signal counts negative

The kernel gives it the children of those that end before them (Linux): so it finds everything that the program has
started, in whatever session that is by now. It keeps what the program's end has left in the process table, so that the
number of the program's group is nobody else's.

Owns:   the process: its program's limits, directory and end, and what the program leaves behind.
Never:  reads or writes what the program does; is moved by a signal (all are blocked when it is started).
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import stat
import sys
from errno import EEXIST, EIO, ENOTDIR, ENOTEMPTY

TERM, KILL = b"T", b"K"

#: The numbers are the same on every system; the module `signal` would take longer to import than all the others.
_SIGTERM, _SIGKILL = 15, 9

_PR_SET_CHILD_SUBREAPER = 36

#: Milliseconds between two looks for the dead that are nobody's child any more.
_TICK_MS = 10_000

#: Where the kernel does not tell when a process ends.
_SHORT_TICK_MS = 20

#: Milliseconds between two looks for those that have to be killed: twice as long each time.
_PAUSE_MS, _PAUSE_MAX_MS = 2, 100

#: Who is there and cannot be found is looked for so many times: it has always had a child before it was seen.
_MISSED_MAX = 1000

#: Stands for the group of a process that is in the process table only.
_DEAD = -1

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def written(limits: dict[str, tuple[int, int]]) -> str:
    """Limits as an argument of a keeper: the soft and the hard one of each, by its name in `resource`."""
    return ",".join(f"{name}={soft}:{hard}" for name, (soft, hard) in limits.items())


def set_limits(text: str) -> None:
    """Set limits for this process, and for what it starts; what is lower already stays.

    Raises:
        OSError: and ValueError: the system refuses.
    """
    for entry in filter(None, text.split(",")):
        name, _, values = entry.partition("=")
        number = getattr(resource, name)
        most = resource.getrlimit(number)[1]
        wanted = [int(value) for value in values.split(":")]
        if most != resource.RLIM_INFINITY:
            wanted = [min(value, most) for value in wanted]
        resource.setrlimit(number, (wanted[0], wanted[1]))


def remove(folder: str) -> None:
    """Remove a directory with all that is in it, however deep that is; no link is followed.

    What is deep is moved up, so that neither the stack nor the number of open files limits the depth.

    Raises:
        OSError: something cannot be removed.
    """
    try:
        root = os.open(folder, _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        moved = 0
        while names := os.listdir(root):
            for name in names:
                moved = _remove_entry(root, name, moved)
    finally:
        os.close(root)
    os.rmdir(folder)


def _remove_entry(root: int, name: str, moved: int) -> int:
    """Remove an entry of the root; how many directories have been moved there so far."""
    if not _is_directory(root, name):
        os.unlink(name, dir_fd=root)
        return moved
    os.chmod(name, 0o700, dir_fd=root)
    folder = os.open(name, _DIRECTORY, dir_fd=root)
    try:
        for inner in os.listdir(folder):
            if _is_directory(folder, inner):
                os.chmod(inner, 0o700, dir_fd=folder)  # it is moved, which changes what it says of its parent
                moved = _move_up(root, folder, inner, moved + 1)
            else:
                os.unlink(inner, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=root)
    return moved


def _move_up(root: int, folder: int, name: str, number: int) -> int:
    """Move a directory into the root, under the first number from this one that is free; which one that was."""
    while True:
        try:
            os.rename(name, f".{number}", src_dir_fd=folder, dst_dir_fd=root)
        except OSError as error:
            if error.errno not in (EEXIST, ENOTEMPTY, ENOTDIR):
                raise
            number += 1
        else:
            return number


def _is_directory(folder: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def descendants(of: int) -> list[tuple[int, int]]:
    """Everything alive that a process has started, and that that has started: its number, and that of its group."""
    children: dict[int, list[tuple[int, int]]] = {}
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                text = file.read()
        except OSError:  # it has ended meanwhile
            continue
        # The name in parentheses may hold anything, parentheses included.
        state, parent, group = text.rpartition(b")")[2].split()[:3]
        children.setdefault(int(parent), []).append((int(name), _DEAD if state in b"ZX" else int(group)))
    found, places = [], [of]
    while places:
        below = children.get(places.pop(), [])
        places += [process for process, _ in below]
        found += [each for each in below if each[1] != _DEAD]
    return found


class Keeper:
    """Keeps one program.

    Args:
        program: its number; it leads a group of this number.
        adopts: whether the children of the dead become ours.
    """

    def __init__(self, program: int, adopts: bool) -> None:
        self._program = program
        self._adopts = adopts
        self._ended = False

    def keep(self) -> bool:
        """Until all is over; whether the server wants it so, and is still there."""
        events = select.poll()
        events.register(0, select.POLLIN)
        tick_ms, exit_ = _TICK_MS, _watch(self._program)
        if exit_ is None:
            tick_ms = _SHORT_TICK_MS
        else:
            events.register(exit_, select.POLLIN)
        while True:
            for ready, _ in events.poll(tick_ms):
                if ready == 0:
                    orders = _hear()
                    if TERM in orders:
                        self._tell_to_end()
                    if not orders or KILL in orders:
                        return bool(orders)
            self._look()
            if self._ended and exit_ is not None:
                events.unregister(exit_)
                os.close(exit_)
                tick_ms, exit_ = _TICK_MS, None

    def kill(self) -> None:
        """Kill everything, until nothing is left but what is not ours to kill."""
        self._signal_group(_SIGKILL)
        told: set[int] = set()
        missed, pause_ms = 0, _PAUSE_MS
        while _reap():
            reached, refused = self._kill_once()
            if reached - told:  # there may be more of them already
                told |= reached
                missed, pause_ms = 0, _PAUSE_MS
            elif reached or not self._adopts:  # they need a moment to die
                select.poll().poll(pause_ms)
                pause_ms = min(2 * pause_ms, _PAUSE_MAX_MS)
            elif refused or missed == _MISSED_MAX:
                return
            else:
                missed += 1

    def _kill_once(self) -> tuple[set[int], set[int]]:
        """Kill everybody who is there now: who has been reached, and who is not ours to kill."""
        found = descendants(os.getpid()) if self._adopts else []
        return _signal([each for each, _ in found], _SIGKILL)

    def _tell_to_end(self) -> None:
        self._signal_group(_SIGTERM)
        if self._adopts:
            _signal([each for each, group in descendants(os.getpid()) if group != self._program], _SIGTERM)

    def _signal_group(self, number: int) -> None:
        # Nobody is left, or nobody whom we may signal: then there is nothing but waiting for the end.
        try:  # noqa: SIM105  # contextlib takes longer to load than all of this
            os.killpg(self._program, number)
        except (ProcessLookupError, PermissionError):
            pass

    def _look(self) -> None:
        """See who has ended: the program is told of, and stays; the others are forgotten."""
        while not self._ended:
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if dead is None:
                return
            if dead.si_pid == self._program:
                self._ended = True
                _say(f"exited {dead.si_status if dead.si_code == os.CLD_EXITED else -dead.si_status}")
            else:
                os.waitpid(dead.si_pid, 0)


def _reap() -> bool:
    """Forget the dead; whether anybody is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _signal(processes: list[int], number: int) -> tuple[set[int], set[int]]:
    """Signal each of these: who has been reached, and who is not ours to signal."""
    reached, refused = set(), set()
    for process in processes:
        try:
            os.kill(process, number)
            reached.add(process)
        except PermissionError:
            refused.add(process)
        except ProcessLookupError:
            pass
    return reached, refused


def _watch(process: int) -> int | None:
    """A descriptor that is ready once a process has ended, where there is such a thing."""
    try:
        return os.pidfd_open(process)
    except (AttributeError, OSError):
        return None


def _hear() -> bytes:
    try:
        return os.read(0, 1024)
    except OSError:
        return b""


def _say(text: str) -> None:
    try:  # noqa: SIM105  # contextlib takes longer to load than all of this
        os.write(0, f"{text}\n".encode())
    except OSError:
        pass  # the server is gone, and the next look at the socket says so


def _adopt() -> bool:
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    return prctl is not None and prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0) == 0


def _start(limits: str, signals: str, variables: str, argv: list[str]) -> int:
    nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    defaults = [int(number) for number in signals.split(",")]
    # Python adds a locale to its own environment where there is none.
    environment = {name: os.environ[name] for name in variables.split(",") if name in os.environ}
    set_limits(limits)
    program = os.posix_spawnp(
        argv[0], argv, environment, file_actions=[nothing], setsid=True, setsigmask=(), setsigdef=defaults
    )
    for descriptor in (1, 2):  # they are the program's alone, so that they end with it
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)
    return program


def main(limits: str, signals: str, variables: str, folder: str, *argv: str) -> None:
    """Be a keeper.

    Args:
        limits: of the program; see `written`.
        signals: numbers of those that Python ignores, and a program does not expect to be ignored.
        variables: names of those of the environment that are for the program.
        folder: the directory to make for the program.
        argv: the program and its arguments.
    """
    os.closerange(3, 65_536)
    try:
        os.mkdir(folder, 0o700)
        try:
            os.chdir(folder)
            adopts = _adopt()
            program = _start(limits, signals, variables, list(argv))
        except BaseException:
            os.rmdir(folder)
            raise
    except (OSError, ValueError) as error:
        _say(f"failed {getattr(error, 'errno', None) or EIO}")
        return
    _say(f"started {program}")
    keeper = Keeper(program, adopts)
    wanted = keeper.keep()
    keeper.kill()
    if not wanted:
        remove(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)
