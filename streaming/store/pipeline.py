"""A transaction of PostgreSQL that is sent whole, without a wait for an answer in between.

Owns:   the pipeline mode of a connection, and what is left of it where something fails.
Uses:   psycopg (an extra).
Never:  knows what is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg


@contextmanager
def one_trip(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """A transaction in the pipeline mode of the protocol, from its beginning to its end.

    If one statement fails, the server leaves out all that come behind it. To a beginning of its own, which it makes
    where it does not commit by itself, psycopg would wait for an answer. Neither end is prepared: of a beginning that
    fails, psycopg would not notice that it is not.
    """
    connection.autocommit = True
    try:
        with _pipeline(connection):
            connection.execute("BEGIN", prepare=False)
            yield
            connection.execute("COMMIT", prepare=False)
    except BaseException:
        _take_back(connection)
        raise
    connection.autocommit = False


@contextmanager
def _pipeline(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """The one of psycopg, which would log what follows from an error inside, with the host and the user."""
    problem: BaseException | None = None
    try:
        with connection.pipeline():
            try:
                yield
            except BaseException as error:
                problem = error
    except Exception:
        if problem is None:
            raise
    if problem is not None:
        raise problem


def _take_back(connection: psycopg.Connection[Any]) -> None:
    """Leave no transaction, and no connection that commits by itself."""
    try:
        connection.rollback()
        connection.autocommit = False
    except psycopg.Error:
        connection.close()
