"""How the command line ends: exit statuses, and one clear line instead of a traceback.

Owns:   the table of exit statuses, and the boundary around every command.
Never:  hides a bug: what is no `StreamingError` keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import sys
from enum import IntEnum
from types import MappingProxyType
from typing import Any

import typer
from typer.core import TyperGroup

from streaming.cli.output import hint, say
from streaming.errors import StreamingError


class Exit(IntEnum):
    """What the exit status says."""

    OK = 0
    TASK_FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    UNAVAILABLE = 5
    NO_OUTPUT = 74
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


#: What a full or broken disk under stdout says.
_NOT_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})

#: Exit statuses by error code; a code that is not here is the server's trouble: unavailable.
_BY_CODE = MappingProxyType(
    {
        "bad_request": Exit.USAGE,
        "bad_json": Exit.USAGE,
        "bad_cursor": Exit.USAGE,
        "bad_filter": Exit.USAGE,
        "body_too_large": Exit.USAGE,
        "uri_too_long": Exit.USAGE,
        "headers_too_large": Exit.USAGE,
        "invalid_params": Exit.USAGE,
        "invalid_settings": Exit.USAGE,
        "invalid_task_type": Exit.USAGE,
        "unknown_type": Exit.USAGE,
        "not_found": Exit.NOT_FOUND,
        "forbidden": Exit.NOT_ALLOWED,
        "unauthenticated": Exit.NOT_ALLOWED,
        "task_active": Exit.NOT_ALLOWED,
        "task_terminal": Exit.NOT_ALLOWED,
        "illegal_transition": Exit.NOT_ALLOWED,
        "time_over": Exit.NOT_ALLOWED,
        "key_busy": Exit.NOT_ALLOWED,
        "not_external": Exit.NOT_ALLOWED,
        "too_many_events": Exit.NOT_ALLOWED,
        "log_too_large": Exit.NOT_ALLOWED,
    }
)


#: What may be done after a refusal, by error code.
_NEXT = MappingProxyType(
    {
        "not_found": "streaming list shows which tasks there are",
        "unknown_type": "streaming types lists the types of this server; streaming serve MODULE has more",
        "invalid_params": "streaming run TYPE --help shows the parameters",
        "invalid_settings": "streaming config lists all settings",
        "bad_filter": "streaming list --help has examples",
        "unauthenticated": "STREAMING_TOKEN or a file in STREAMING_TOKEN_FILE shows a credential; "
        "streaming key create NAME makes one, beside the database",
        "forbidden": "another credential may do it; streaming key create NAME --scope SCOPE makes one",
        "task_active": "streaming cancel ID --wait-s 10 stops it",
        "task_terminal": "streaming show ID says how it ended; streaming retry ID starts it once more",
        "key_busy": "--if-running enqueue waits behind it, join follows it, replace ends it",
        "too_many_tasks": "wait, or look at streaming list --status pending",
        "draining": "try again when it is back",
        "unreachable": "streaming serve starts a server here; --url or STREAMING_URL names another one",
        "store_unavailable": "streaming db check says what is the matter with a database of this machine",
    }
)


def report(error: StreamingError) -> Exit:
    """Say on stderr what went wrong and what may be done, and return the exit status that goes with it."""
    say(error.detail)
    for field in error.errors:
        line = f"{field.field}: {field.message}"
        if line not in error.detail:
            say(f"  {line}")
    if error.code in _NEXT:
        hint(_NEXT[error.code])
    return exit_of(error.code)


def exit_of(code: str) -> Exit:
    """The exit status that goes with an error code."""
    return _BY_CODE.get(code, Exit.UNAVAILABLE)


class Boundary(TyperGroup):
    """The group of all commands; no error that somebody can do something about leaves it as a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse words that are not UTF-8: they could not be sent."""
        for word in args:
            if not _is_text(word):
                ctx.fail(f"{word!r} is not UTF-8.")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except StreamingError as error:
            raise typer.Exit(report(error)) from error
        except BrokenPipeError:
            discard_output()
            raise typer.Exit(Exit.BROKEN_PIPE) from None
        except OSError as error:
            if error.errno not in _NOT_WRITTEN:
                raise
            discard_output()
            say(f"The output cannot be written: {error.strerror}.")
            raise typer.Exit(Exit.NO_OUTPUT) from error
        return result


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def discard_output() -> None:
    """Nobody reads stdout any more: what is still in its buffer must not fail again when the process ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
