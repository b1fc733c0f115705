"""The settings of simulated instances: what a test has said, and nothing else.

Owns:   `settings_of`, and which settings an instance of a world takes.
Uses:   config (what a setting is).
Never:  looks into the environment, a file, or anything else of this machine: a run is the same on each of them.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable
from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from streaming.config import Settings

#: Settings of the memory store alone. The disk of a world has one inside, which all its instances share.
_OF_THE_DISK = "memory_"


class _Given(Settings):
    """Settings from nowhere but its arguments."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def settings_of(**given: Any) -> Settings:
    """Settings without the environment; made once, since checking them takes longer than a whole run.

    Args:
        given: by name; all others have their defaults.

    Raises:
        TypeError: there is no setting of this name.
        ValidationError: a value is wrong; it is a ValueError.
    """
    _check_names(given)
    try:
        return _made(tuple(sorted(given.items())))
    except TypeError:  # a value that cannot be a key
        return _Given(**given)


@functools.lru_cache(maxsize=1024)
def _made(given: tuple[tuple[str, Any], ...]) -> Settings:
    return _Given(**dict(given))


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if name not in Settings.model_fields:
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            meant = f"do you mean {near[0]!r}?" if near else "they are named as in docs/settings.md, without STREAMING_"
            raise TypeError(f"there is no setting {name!r}: {meant}")


def check_instance_settings(names: Iterable[str]) -> None:
    """Look whether these are settings that an instance of a world can have for itself.

    Args:
        names: of them.

    Raises:
        TypeError: one is of the disk, which it shares with the others.
    """
    for name in names:
        if name.startswith(_OF_THE_DISK):
            raise TypeError(
                f"{name} is no setting of a simulated instance: world.disk is that of all instances, and keeps what "
                "they write; 'retention' removes some of it"
            )
