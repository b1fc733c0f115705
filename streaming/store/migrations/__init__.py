"""The history of the schema; alembic runs what a database still lacks.

Owns:   every step from an empty file to ``store.schema``.
Never:  imports ``store.schema``: a step stays what it was when the schema moves on.
"""
