"""Secrets that stand in files: ``STREAMING_NAME_FILE`` names the file that holds the value of ``STREAMING_NAME``.

Owns:   which settings may stand in a file, and reading them.
Never:  shows, logs or quotes what a file holds.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from streaming.errors import FieldError, InvalidSettings

#: Settings that are secrets, or may hold one.
NAMES = ("store_url", "api_keys", "jwt_secret", "stream_token_secret")

#: Bytes of such a file, at most.
BYTES_MAX = 65_536


def read_secret_files(environ: Mapping[str, str], names: Sequence[str] = NAMES) -> dict[str, str]:
    """Read the files that the environment names.

    Args:
        environ: its variables; upper and lower case are the same, as for all settings.
        names: what may stand in a file.

    Returns:
        By name of the setting; without one newline at the end, which editors add.

    Raises:
        InvalidSettings: a file cannot be read, or the variable itself is set as well; each is named.
    """
    variables = {name.upper(): value for name, value in environ.items()}
    found: dict[str, str] = {}
    wrong: list[FieldError] = []
    for name, variable, path in _named(environ, names):
        try:
            if variable.removesuffix("_FILE") in variables:
                raise ValueError(f"set this or {variable.removesuffix('_FILE')}, not both")
            found[name] = _read(path)
        except ValueError as error:
            wrong.append(FieldError(variable, str(error)))
    if wrong:
        raise InvalidSettings("; ".join(f"{field.field}: {field.message}" for field in wrong), errors=wrong)
    return found


def readable_by_others(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """The variables, with their files, that everybody on this machine may read."""
    return [(variable, path) for _name, variable, path in _named(environ, NAMES) if _mode(path) & stat.S_IROTH]


def _named(environ: Mapping[str, str], names: Sequence[str]) -> list[tuple[str, str, str]]:
    variables = {name.upper(): value for name, value in environ.items()}
    named = [(name, f"STREAMING_{name.upper()}_FILE") for name in names]
    return [(name, variable, variables[variable]) for name, variable in named if variable in variables]


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError):
        return 0


def _read(path: str) -> str:
    try:
        # Not blocking: a pipe that nobody writes to must not hold up the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError(f"{path!r} is no file")
            content = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"{path!r} cannot be read: {error.strerror or type(error).__name__}") from None
    if len(content) > BYTES_MAX:
        raise ValueError(f"{path!r} has more than {BYTES_MAX} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path!r} is no UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")
