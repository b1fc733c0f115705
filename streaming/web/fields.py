"""The fields of request bodies.

Owns:   which fields there are, their types and limits; one error for each that is wrong.
Never:  knows the parameters of a task type (``engine.registry``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar, cast, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from streaming.config import Settings
from streaming.engine.draft import check_seconds
from streaming.engine.options import RetryOptions, StartOptions
from streaming.errors import FieldError, InvalidParams
from streaming.records import Priority, TaskError, TaskStatus
from streaming.rules.deadlines import Limit
from streaming.rules.fields import TAGS_MAX
from streaming.rules.reporting import Report, ReportedEvent
from streaming.rules.schedule import IfRunning

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def _printable(tag: str) -> str:
    if not tag.isprintable() or tag != tag.strip() or "," in tag:
        raise ValueError("a tag is printable, without a comma, and without a blank at either end")
    return tag


Tag = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]


Seconds = Annotated[float, Field(gt=0)]


class RetryFields(BaseModel):
    """What is to follow a failed attempt."""

    model_config = _STRICT

    retries: int = Field(0, ge=0)
    backoff_s: Seconds = 1.0
    backoff_max_s: Seconds = 300.0
    on: list[str] = Field(default_factory=list)


class UnwatchedFields(BaseModel):
    """When a task is to be cancelled that nobody watches any more."""

    model_config = _STRICT

    cancel_after_s: Seconds


class StartFields(BaseModel):
    """The body of a start."""

    model_config = _STRICT

    type: str
    params: dict[str, Any] = Field(default_factory=dict)
    timeout_s: Seconds | None = None
    queue_timeout_s: Seconds | None = None
    heartbeat_timeout_s: Seconds | None = None
    total_timeout_s: Seconds | None = None
    priority: Annotated[Priority, Field(strict=False)] = Priority.NORMAL
    key: str | None = None
    if_running: Annotated[IfRunning, Field(strict=False)] = IfRunning.ENQUEUE
    external_id: str | None = None
    retry: RetryFields | None = None
    on_unwatched: UnwatchedFields | None = None
    keep_until_ack: bool = False
    tags: list[Tag] = Field(default_factory=list, max_length=TAGS_MAX)

    @field_validator("on_unwatched", mode="before")
    @classmethod
    def _unwatched(cls, value: object) -> object:
        if value == "continue":
            return None
        if not isinstance(value, dict):
            raise ValueError('"continue", or {"cancel_after_s": seconds}')
        return value

    def options(self, settings: Settings) -> StartOptions:
        """What is asked for besides type and parameters; what was not said is for the task type to say.

        Raises:
            InvalidParams: a time under another name than the coordinator's is over the maximum.
        """
        options: StartOptions = {}
        for name in _AS_THEY_ARE & self.model_fields_set:
            options[name] = getattr(self, name)  # type: ignore[literal-required]  # they are named alike
        if self.retry is not None:
            options["retry"] = cast("RetryOptions", self.retry.model_dump(exclude_unset=True))
        if self.on_unwatched is not None:
            seconds = self.on_unwatched.cancel_after_s
            options["cancel_unwatched_s"] = check_seconds("on_unwatched.cancel_after_s", seconds, settings)
        if self.tags:
            options["tags"] = tuple(dict.fromkeys(self.tags))
        return options


#: Fields of a start that the coordinator knows under the same name.
_AS_THEY_ARE = StartOptions.__annotations__.keys() & StartFields.model_fields.keys() - {"retry", "tags"}


class CancelFields(BaseModel):
    """The body of a cancel."""

    model_config = _STRICT

    reason: str = Field("", max_length=1000)


class NoFields(BaseModel):
    """A body that has nothing to say."""

    model_config = _STRICT


class ExtendFields(BaseModel):
    """The body that moves deadlines."""

    model_config = _STRICT

    timeout_s: Seconds | None = None
    queue_timeout_s: Seconds | None = None
    heartbeat_timeout_s: Seconds | None = None
    total_timeout_s: Seconds | None = None

    def limits(self) -> dict[Limit, float | None]:
        """The new lengths; null takes a limit away."""
        return {limit: getattr(self, limit.value) for limit in Limit if limit.value in self.model_fields_set}


class InputFields(BaseModel):
    """The body of an input."""

    model_config = _STRICT

    data: Any


class EventFields(BaseModel):
    """One event of an external worker."""

    model_config = _STRICT

    type: str
    data: Any = None
    client_seq: int | None = None

    def event(self, place: str = "") -> ReportedEvent:
        """The event, and where it stands in the body."""
        return ReportedEvent(self.type, self.data, self.client_seq, place)


class EventsFields(BaseModel):
    """Several events of an external worker."""

    model_config = _STRICT

    events: list[EventFields] = Field(min_length=1)

    def report(self) -> Report:
        """All of them."""
        return Report(events=[event.event(f"events.{index}.") for index, event in enumerate(self.events)])


class ProgressFields(BaseModel):
    """How far an external task is."""

    model_config = _STRICT

    percent: float
    message: str | None = None


class StepsFields(BaseModel):
    """How many steps of an external task are done."""

    model_config = _STRICT

    completed: int
    total: int
    current: str | None = None


class ErrorFields(BaseModel):
    """Why an external task has failed."""

    model_config = _STRICT

    code: str
    message: str


class ReportFields(BaseModel):
    """What an external worker says about its task."""

    model_config = _STRICT

    heartbeat: bool | None = None
    progress: ProgressFields | None = None
    steps: StepsFields | None = None
    status: Annotated[TaskStatus, Field(strict=False)] | None = None
    result: Any = None
    error: ErrorFields | None = None

    @field_validator("heartbeat")
    @classmethod
    def _heartbeat(cls, value: bool | None) -> bool | None:
        if value is False:
            raise ValueError("true, or leave it out")
        return value

    def report(self) -> Report:
        """The same, for the coordinator."""
        progress, steps, error = self.progress, self.steps, self.error
        return Report(
            progress=None if progress is None else (progress.percent, progress.message),
            steps=None if steps is None else (steps.completed, steps.total, steps.current),
            status=self.status,
            result=self.result,
            error=None if error is None else TaskError(error.code, error.message),
        )


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


def read_said(model: type[Fields], body: dict[str, Any]) -> Fields:
    """Like `read_fields`, for a body that must not be empty.

    Raises:
        InvalidParams: nothing is said, or something wrong.
    """
    fields = read_fields(model, body)
    if not fields.model_fields_set:
        raise InvalidParams(f"The body says nothing; possible: {', '.join(model.model_fields)}.")
    return fields


def _field_error(model: type[BaseModel], place: tuple[int | str, ...], kind: str, message: str) -> FieldError:
    if kind == "extra_forbidden":
        possible = ", ".join(_inside(model, place[:-1]).model_fields) or "none"
        message = f"There is no such field; possible: {possible}."
    elif kind == "model_type":
        message = "Input should be an object"
    return FieldError(".".join(map(str, place))[:200], message.removeprefix("Value error, "))


def _inside(model: type[BaseModel], place: tuple[int | str, ...]) -> type[BaseModel]:
    """The model of an object that lies inside of a body."""
    for name in place:
        if isinstance(name, str):
            kinds = _all_kinds(model.model_fields[name].annotation)
            model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return model


def _all_kinds(annotation: object) -> Iterator[object]:
    """An annotation, and those that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _all_kinds(part)


def fingerprint(body: dict[str, Any]) -> str:
    """Hash a body so that the order of names and the blanks between them do not matter."""
    text = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
