"""The fields of request bodies.

Owns:   which fields there are, their types and limits; one error for each that is wrong.
Never:  knows the parameters of a task type (``engine.registry``).
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from streaming.errors import FieldError, InvalidParams

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def _printable(tag: str) -> str:
    if not tag.isprintable() or tag != tag.strip() or "," in tag:
        raise ValueError("a tag is printable, without a comma, and without a blank at either end")
    return tag


Tag = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]


class StartFields(BaseModel):
    """The body of a start."""

    model_config = _STRICT

    type: str
    params: dict[str, Any] = Field(default_factory=dict)
    timeout_s: float | None = Field(None, gt=0)
    tags: list[Tag] = Field(default_factory=list, max_length=32)


class CancelFields(BaseModel):
    """The body of a cancel."""

    model_config = _STRICT

    reason: str = Field("", max_length=1000)


Fields = TypeVar("Fields", bound=BaseModel)


def read_fields(model: type[Fields], body: dict[str, Any]) -> Fields:
    """Check a body against its model.

    Raises:
        InvalidParams: one entry in ``errors`` for each wrong, missing or unknown field.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        wrong = [_field_error(model, item["loc"], item["type"], item["msg"]) for item in error.errors()]
        named = ", ".join(field.field for field in wrong[:5])
        raise InvalidParams(f"Fields of the body are wrong: {named}.", errors=wrong) from None


def _field_error(model: type[BaseModel], place: tuple[int | str, ...], kind: str, message: str) -> FieldError:
    if kind == "extra_forbidden":
        message = f"There is no such field; possible: {', '.join(model.model_fields)}."
    return FieldError(".".join(map(str, place))[:200], message.removeprefix("Value error, "))


def fingerprint(body: dict[str, Any]) -> str:
    """Hash a body so that the order of names and the blanks between them do not matter."""
    text = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
