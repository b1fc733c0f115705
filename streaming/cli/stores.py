"""The option that names a store.

Owns:   its words, and what may not stand in it.
Never:  opens a store.
"""

from __future__ import annotations

from typing import Annotated

import typer


def no_password(url: str | None) -> str | None:
    """Refuse a password on the command line, which everybody on the machine can read.

    Raises:
        BadParameter: there is one.
    """
    if url is None or not url.startswith("postgresql"):
        return url
    from streaming.cli.settings import without_password

    if without_password(url) != url:
        raise typer.BadParameter(
            "It has a password, and everybody on this machine sees command lines. Put the URL into "
            "STREAMING_STORE_URL, or into a file that STREAMING_STORE_URL_FILE names; or the password into PGPASSFILE."
        )
    return url


Store = Annotated[
    str | None,
    typer.Option(
        callback=no_password,
        help="sqlite:///path or postgresql+psycopg://user@host/database.",
        show_default="STREAMING_STORE_URL",
    ),
]
