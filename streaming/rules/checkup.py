"""What a look at the machine, the settings and the store of a server means, and what to do about it.

Owns:   the limits between what is well, what is odd and what does not work; the words for it.
Never:  looks at anything itself: it gets what was seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from streaming.rules.finding import Finding, Verdict

#: Files that a server has open besides its connections: store, log, worker processes, what handlers open.
FILES_BESIDE = 512

#: Bytes that a disk must have, and should have.
DISK_MUST, DISK_SHOULD = 64 * 2**20, 2**30

#: Seconds that two clocks of one machine may differ over a moment.
DRIFT_S = 0.05

#: Load balancers often give up on a connection that is silent for a minute.
SILENCE_S = 55.0

OK, WARNING, PROBLEM = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM


@dataclass(frozen=True, slots=True)
class Access:
    """Who may reach a server, as it is configured.

    Attributes:
        host: what it listens on.
        loopback: whether that is this machine only.
        insecure: whether it may be open to everybody (``STREAMING_INSECURE_PUBLIC``).
        configured: whether a setting names credentials.
        keys: API keys in the store that open something; None if it could not be asked.
        short: principals whose keys can be guessed.
        readable: variables whose files everybody on the machine may read.
        any_origin: whether pages of every site may call.
    """

    host: str
    loopback: bool
    insecure: bool
    configured: bool
    keys: int | None
    short: Sequence[str] = ()
    readable: Sequence[str] = ()
    any_origin: bool = False

    @property
    def guarded(self) -> bool:
        """Whether a credential is needed."""
        return self.configured or bool(self.keys)


def judge_access(access: Access) -> Iterator[Finding]:
    """Whether everybody is let in who should not be, or nobody."""
    if not access.guarded and not access.loopback and access.keys is not None:
        yield _unguarded(access)
    elif access.guarded:
        yield Finding("credentials", OK, f"They are needed; {access.keys or 0} API keys of the store open something.")
    else:
        yield Finding("credentials", OK, "None are needed, and only this machine is served.")
    if access.short:
        yield Finding(
            "credentials",
            PROBLEM if not access.loopback else WARNING,
            f"The keys of {', '.join(access.short)} in STREAMING_API_KEYS are short enough to be guessed.",
            "Take random ones (openssl rand -hex 32), or keys of the store (streaming key create).",
        )
    for variable in access.readable:
        yield Finding(
            "credentials", WARNING, f"Everybody on this machine may read the file of {variable}.", "chmod o-r on it."
        )
    if access.any_origin and not access.guarded:
        yield Finding(
            "origins",
            WARNING,
            "STREAMING_CORS_ORIGINS is *, and no credential is needed: every page that somebody here opens may call.",
            "Name the origins of your pages.",
        )


def _unguarded(access: Access) -> Finding:
    if access.insecure:
        return Finding(
            "credentials",
            WARNING,
            f"None are needed, and {access.host} is open: whoever reaches the server may do everything.",
            "Make a key (streaming key create NAME), and leave STREAMING_INSECURE_PUBLIC out.",
        )
    return Finding(
        "credentials",
        PROBLEM,
        f"There are none, and STREAMING_HOST={access.host} is not this machine alone: the server does not start so.",
        "Make a key (streaming key create NAME), or name one in STREAMING_API_KEYS_FILE.",
    )


def judge_files(soft: int, hard: int, connections: int, streams: int, *, whose: str = "this process") -> Finding:
    """Whether there may be as many open files as connections.

    Args:
        soft: the limit of a process.
        hard: as far as it may be raised.
        connections: ``STREAMING_MAX_CONNECTIONS``.
        streams: ``STREAMING_MAX_STREAMS``; each has a connection.
        whose: the process.
    """
    needed = max(connections, streams) + FILES_BESIDE
    found = (
        f"{soft} may be open in {whose}; {needed} are needed for {max(connections, streams)} connections and the rest."
    )
    if soft >= needed:
        return Finding("open files", OK, found)
    how = f"ulimit -n {needed}" if hard >= needed else "LimitNOFILE=65536 (systemd), or ulimits of the container"
    return Finding(
        "open files",
        PROBLEM if soft < FILES_BESIDE else WARNING,
        found,
        f"Raise the limit: {how}. Or lower STREAMING_MAX_CONNECTIONS and STREAMING_MAX_STREAMS.",
    )


def judge_limits(connections: int, streams: int, keepalive_s: float) -> Iterator[Finding]:
    """Whether the settings go together."""
    if connections <= streams:
        yield Finding(
            "limits",
            WARNING,
            f"STREAMING_MAX_CONNECTIONS ({connections}) is not more than STREAMING_MAX_STREAMS ({streams}): streams "
            "may take all connections, and nobody gets through to cancel anything.",
            "Allow some hundred connections more than streams.",
        )
    if keepalive_s > SILENCE_S:
        yield Finding(
            "limits",
            WARNING,
            f"STREAMING_KEEPALIVE_S ({keepalive_s:g}) is longer than many proxies wait: quiet streams are cut off.",
            "Leave it at 15.",
        )


def judge_disk(free_bytes: int, total_bytes: int, place: str) -> Finding:
    """Whether there is room for what is to be stored."""
    found = f"{_size(free_bytes)} of {_size(total_bytes)} are free in {place}."
    if free_bytes >= DISK_SHOULD:
        return Finding("disk", OK, found)
    verdict = PROBLEM if free_bytes < DISK_MUST else WARNING
    return Finding(
        "disk",
        verdict,
        found,
        "Make room, or keep less (STREAMING_RETENTION): on a full disk no task starts or goes on.",
    )


def judge_schema(revision: str | None, newest: str, *, older: bool) -> Finding:
    """Whether this version can work with the tables that are there.

    Args:
        revision: theirs; None if there are none.
        newest: that of this version.
        older: whether theirs comes before ours.
    """
    if revision is None:
        return Finding("schema", OK, "There are no tables yet: the first start makes them.")
    if revision == newest:
        return Finding("schema", OK, f"It is {revision}, that of this version.")
    found = f"It is {revision}, and this version has {newest}: the server does not start."
    if older:
        return Finding("schema", PROBLEM, found, "Make a backup, then run: streaming db upgrade")
    return Finding("schema", PROBLEM, found, "A newer version has made it: upgrade the program.")


def judge_holder(holder: str | None, *, serving: bool) -> Finding:
    """Whether somebody has the database.

    Args:
        holder: who, in words.
        serving: whether a server of ours answers at the address that is configured.
    """
    if holder is None:
        return Finding("lock", OK, "Nobody uses the database.")
    if serving:
        return Finding("lock", OK, f"{_capital(holder)} uses the database; a server answers where this one would.")
    return Finding(
        "lock",
        WARNING,
        f"{_capital(holder)} uses the database, and nobody answers at the address that is configured.",
        "One server takes it: stop that one before you start another, or choose another STREAMING_STORE_URL.",
    )


def judge_survival(kind: str, synchronous: str) -> Finding:
    """What the store survives."""
    if kind == "memory":
        return Finding(
            "durability",
            WARNING,
            "memory:// survives nothing: every restart forgets all tasks.",
            "Set STREAMING_STORE_URL to a file or a database.",
        )
    if kind == "sqlite" and synchronous == "normal":
        return Finding(
            "durability",
            OK,
            "SQLite survives a crash of the process, and may lose its last moments in a power cut "
            "(STREAMING_SQLITE_SYNCHRONOUS=full does not).",
        )
    return Finding("durability", OK, "It survives a power cut, on disks that keep their word.")


def judge_software(versions: Mapping[str, str | None]) -> Finding:
    """Whether what the server is made of is there.

    Args:
        versions: of each program and library; None for one that is not installed.
    """
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
    missing = [name for name, version in versions.items() if version is None]
    if missing == ["uvloop"]:
        return Finding(
            "software",
            WARNING,
            f"{there}; no uvloop.",
            "Streams take less of the processor with it: pip install 'streaming[speedups]'",
        )
    if missing:
        return Finding("software", PROBLEM, f"{', '.join(missing)} is missing.", "Install streaming again, with pip.")
    return Finding("software", OK, f"{there}.")


def judge_port(taken: str | None, answer: str | None, address: str) -> Finding:
    """Whether a server can listen.

    Args:
        taken: why it cannot be bound; None if it can.
        answer: of whoever listens there: ``ours`` or ``other``; None if nobody does.
        address: host and port.
    """
    if taken is None:
        return Finding("port", OK, f"{address} is free: no server runs there.")
    if answer == "ours":
        return Finding("port", OK, f"A server answers at {address}.")
    if answer == "other":
        return Finding(
            "port",
            PROBLEM,
            f"Another program listens at {address}.",
            "Stop it, or choose another STREAMING_PORT.",
        )
    return Finding(
        "port", PROBLEM, f"Nobody can listen at {address}: {taken}.", "Look at STREAMING_HOST and STREAMING_PORT."
    )


def judge_ticking(went_s: float, wall_s: float, *, back: bool) -> Finding:
    """Whether the clocks of this machine go as clocks should.

    Args:
        went_s: a moment, by the clock that nobody sets.
        wall_s: the same, by that of the wall.
        back: whether the first one went back.
    """
    if back or went_s <= 0:
        return Finding(
            "clock",
            PROBLEM,
            "The monotonic clock stands or goes back.",
            "No deadline can be kept: look at the machine.",
        )
    if abs(went_s - wall_s) > DRIFT_S:
        return Finding(
            "clock",
            WARNING,
            f"In {went_s:.3f} s the wall clock went {wall_s:.3f} s: somebody is setting it.",
            "Let it be slewed, not set: times of events jump, though no deadline does.",
        )
    return Finding("clock", OK, "The clocks of this machine go evenly.")


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
