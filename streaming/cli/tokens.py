"""The credential of a command: ``STREAMING_TOKEN``, or the file that ``STREAMING_TOKEN_FILE`` names.

Owns:   where it comes from.
Uses:   secret_files (reading the file), client.credentials (what a token may be like).
Never:  takes it from the command line, which everybody on this machine may read; shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streaming.client.credentials import checked
from streaming.errors import FieldError, InvalidSettings
from streaming.secret_files import read_secret_files

#: What `token_from` returns.
Token = str | Callable[[], str] | None

VARIABLE = "STREAMING_TOKEN"
_NAME = "token"


def token_from(environ: Mapping[str, str]) -> Token:
    """What the environment says.

    Args:
        environ: its variables.

    Returns:
        The token; what reads its file, once more for each call; None if there is none.

    Raises:
        InvalidSettings: it is no token, its file cannot be read, or both are named; so does reading the file again.
    """

    def read() -> str:
        return _token(read_secret_files(environ, (_NAME,)).get(_NAME, ""), f"{VARIABLE}_FILE")

    if read_secret_files(environ, (_NAME,)):
        return read
    return _token(environ[VARIABLE], VARIABLE) if VARIABLE in environ else None


def _token(text: str, variable: str) -> str:
    try:
        return checked(text)
    except ValueError as error:
        raise InvalidSettings(f"{variable}: {error}.", errors=[FieldError(variable, str(error))]) from None
