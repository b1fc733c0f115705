"""The settings, described for people.

Owns:   one row for each setting: its variable, value, default and meaning.
Never:  knows any setting by name.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from streaming.config import Settings, load_settings

#: Stand for a secret: that it is set, and not how long it is.
STARS = "***"


def describe_settings() -> list[dict[str, Any]]:
    """Describe every setting, as it is in this environment.

    Returns:
        For each one ``variable``, ``value``, ``default`` and ``description``; values as JSON, stars for a secret.

    Raises:
        InvalidSettings: the environment has a wrong value.
    """
    settings = load_settings()
    values = settings.model_dump(mode="json")
    values |= {name: STARS for name, value in settings if isinstance(value, SecretStr)}
    prefix = Settings.model_config["env_prefix"]
    return [
        {
            "variable": f"{prefix}{name}".upper(),
            "value": without_password(values[name]) if name == "store_url" else values[name],
            "default": _default(field),
            "description": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]


def without_password(url: str) -> str:
    """A URL with stars in place of its password, wherever that stands, and rather too many of them than too few."""
    if not url.startswith("postgresql"):
        return url
    url = re.sub(r"(//[^:/?]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][^=&]*password[^=&]*=)[^&]*", r"\1***", url)


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True)
