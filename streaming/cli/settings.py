"""The settings, described for people.

Owns:   one row for each setting: its variable, value, default and meaning.
Never:  knows any setting by name.
"""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo

from streaming.config import Settings, load_settings


def describe_settings() -> list[dict[str, Any]]:
    """Describe every setting, as it is in this environment.

    Returns:
        For each one ``variable``, ``value``, ``default`` and ``description``; values as JSON.

    Raises:
        InvalidSettings: the environment has a wrong value.
    """
    values = load_settings().model_dump(mode="json")
    prefix = Settings.model_config["env_prefix"]
    return [
        {
            "variable": f"{prefix}{name}".upper(),
            "value": values[name],
            "default": _default(field),
            "description": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True)
