"""The machine under the figures.

Owns:   which core the server gets and which the load client, and how many files they may open; names and versions for
        the report.
Never:  names the host, or anything else that identifies whose machine it is.
"""

from __future__ import annotations

import os
import platform
import resource
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psutil


def client_core() -> int:
    """The first core that this process may use."""
    return _ALLOWED[0]


def server_core() -> int:
    """The last one; the same as the client's where there is only one."""
    return _ALLOWED[-1]


def pin_client() -> None:
    """Keep this process off the server's core."""
    os.sched_setaffinity(0, {client_core()})


@contextmanager
def pinned_to_server() -> Iterator[None]:
    """A process started inside is born on the server's core, and so are its threads."""
    with _moved_to({server_core()}):
        yield


@contextmanager
def on_all_cores() -> Iterator[None]:
    """A process started inside may use whatever we may use."""
    with _moved_to(_ALLOWED):
        yield


@contextmanager
def _moved_to(cores: Collection[int]) -> Iterator[None]:
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        pin_client()


def raise_limit_of_files() -> None:
    """As many open files as are allowed, for this process and the servers that it starts: 10,000 readers need them."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def foreign_cpu_s() -> float:
    """Seconds of CPU that others have used on this machine; servers count as ours once they have ended."""
    times = psutil.cpu_times()
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    ours_s = sum(usage.ru_utime + usage.ru_stime for usage in own)
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice - ours_s)


def describe() -> dict[str, str | int]:
    """CPU, cores and memory."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "cores_apart": int(client_core() != server_core()),
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "system": platform.system(),
    }


def versions() -> dict[str, str]:
    """Python, and what the server stands on."""
    packages = ("streaming", "uvicorn", "httptools", "asgineer", "sqlalchemy", "uvloop")
    found = {name: version(name) for name in packages}
    return {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, **found}


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


_ALLOWED = sorted(os.sched_getaffinity(0))
