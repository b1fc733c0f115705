"""The fields of request bodies.

Owns:   which fields there are, their types, limits and descriptions; one error for each that is wrong.
Uses:   engine.draft, rules.reporting (limits that are checked there, and only described here).
Never:  knows the parameters of a task type (``engine.registry``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    field_validator,
)

from streaming.config import Settings
from streaming.engine.draft import NAME_MAX, RETRY_NAMES_MAX, check_seconds
from streaming.engine.options import RetryOptions, StartOptions
from streaming.errors import FieldError, InvalidParams
from streaming.records import Priority, TaskError, TaskStatus
from streaming.rules.deadlines import Limit
from streaming.rules.fields import TAGS_MAX
from streaming.rules.outcome import CODE_MAX, MESSAGE_MAX
from streaming.rules.reporting import CLIENT_SEQ_MAX, PROGRESS_MESSAGE_MAX, Report, ReportedEvent
from streaming.rules.retry import RETRIES_MAX
from streaming.rules.schedule import IfRunning
from streaming.rules.sse import RESERVED_TYPES

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
#: Of a body that must say something.
_SAYS_SOMETHING: ConfigDict = {**_STRICT, "json_schema_extra": {"minProperties": 1}}


def _printable(tag: str) -> str:
    if not tag.isprintable() or tag != tag.strip() or "," in tag:
        raise ValueError("a tag is printable, without a comma, and without a blank at either end")
    return tag


def _unlike_null(schema: dict[str, Any]) -> None:
    """In Python it is None, and in JSON a word."""
    schema["anyOf"] = [{"const": "continue"}, *(each for each in schema["anyOf"] if each != {"type": "null"})]
    schema["default"] = "continue"


def _whole(value: object) -> object:
    """2.0 is 2: JSON has numbers, and not every language keeps whole ones apart."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Tag = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]
Seconds = Annotated[float, Field(gt=0)]
Whole = Annotated[int, BeforeValidator(_whole)]

# Their limits are checked where handlers are held to them, too.
_Name = Annotated[str, Field(json_schema_extra={"minLength": 1, "maxLength": NAME_MAX})]
_Words = Annotated[str, Field(json_schema_extra={"maxLength": PROGRESS_MESSAGE_MAX})]
_EVENT_TYPE: dict[str, Any] = {"pattern": "^[A-Za-z0-9_.-]{1,64}$", "not": {"enum": sorted(RESERVED_TYPES)}}


class RetryFields(BaseModel):
    """What is to follow a failed attempt; what is left out is as the task type says."""

    model_config = _STRICT

    retries: Whole = Field(
        0, ge=0, description="Attempts after the first, at most.", json_schema_extra={"maximum": RETRIES_MAX}
    )
    backoff_s: Seconds = Field(1.0, description="The longest pause before the first retry; it doubles with each.")
    backoff_max_s: Seconds = Field(300.0, description="The longest pause of all.")
    on: list[_Name] = Field(
        default_factory=list,
        description="Error codes, or names of exception classes, worth another attempt; empty means all of them. "
        f"At most {RETRY_NAMES_MAX}; repeated ones count once.",
    )


class UnwatchedFields(BaseModel):
    """When a task is to be cancelled that nobody watches any more."""

    model_config = _STRICT

    cancel_after_s: Seconds = Field(description="Seconds after its last viewer has left, unless one comes back.")


class StartFields(BaseModel):
    """The body of a start."""

    model_config = _STRICT

    type: str = Field(description="Name of a task type.")
    params: dict[str, Any] = Field(default_factory=dict, description="Its parameters.")
    timeout_s: Seconds | None = Field(None, description="Seconds one run may take; null is as the task type says.")
    queue_timeout_s: Seconds | None = Field(None, description="Seconds it may wait for its turn.")
    heartbeat_timeout_s: Seconds | None = Field(None, description="Seconds a run may be silent.")
    total_timeout_s: Seconds | None = Field(
        None, description="Seconds from the start to the end, with all waiting and all attempts."
    )
    priority: Annotated[Priority, Field(strict=False)] = Field(Priority.NORMAL, description="Whose turn comes first.")
    key: _Name | None = Field(
        None, description="Printable. Tasks of one principal with the same key run one after the other."
    )
    if_running: Annotated[IfRunning, Field(strict=False)] = Field(
        IfRunning.ENQUEUE, description="What happens if a task with this key has not ended."
    )
    external_id: _Name | None = Field(None, description="What the task is called elsewhere; printable.")
    retry: RetryFields | None = Field(None, description="What follows a failed attempt; null is as the type says.")
    on_unwatched: UnwatchedFields | None = Field(
        None, description="What happens once nobody watches it any more.", json_schema_extra=_unlike_null
    )
    keep_until_ack: bool = Field(False, description="Its record stays until its result was acknowledged.")
    tags: list[Tag] = Field(
        default_factory=list,
        max_length=TAGS_MAX,
        description="Printable words to find it by, without a comma and without a blank at either end.",
    )

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

    reason: str = Field("", max_length=1000, description="Shown to every reader.")


class NoFields(BaseModel):
    """A body that has nothing to say."""

    model_config = _STRICT


class ExtendFields(BaseModel):
    """The body that moves deadlines; null takes a limit away."""

    model_config = _SAYS_SOMETHING

    timeout_s: Annotated[Seconds | None, WithJsonSchema({"type": "number", "exclusiveMinimum": 0})] = Field(
        None, description="Seconds the run may take, counted from its beginning."
    )
    queue_timeout_s: Seconds | None = Field(None, description="Seconds the wait for its turn may take.")
    heartbeat_timeout_s: Seconds | None = Field(None, description="Seconds a run may be silent.")
    total_timeout_s: Seconds | None = Field(None, description="Seconds from the start of the task to its end.")

    def limits(self) -> dict[Limit, float | None]:
        """The new lengths; null takes a limit away."""
        return {limit: getattr(self, limit.value) for limit in Limit if limit.value in self.model_fields_set}


class InputFields(BaseModel):
    """The body of an input."""

    model_config = _STRICT

    data: Any = Field(description="Any JSON value.")


class EventFields(BaseModel):
    """One event of an external worker."""

    model_config = _STRICT

    type: str = Field(
        description="What happened; the types of the server are not possible.",
        json_schema_extra=_EVENT_TYPE,
    )
    data: Any = Field(None, description="Any JSON value; null is an empty object.")
    client_seq: Annotated[Whole, Field(json_schema_extra={"minimum": 1, "maximum": CLIENT_SEQ_MAX})] | None = Field(
        None, description="The worker's number for it: one that was taken before is left out."
    )

    def event(self, place: str = "") -> ReportedEvent:
        """The event, and where it stands in the body."""
        return ReportedEvent(self.type, self.data, self.client_seq, place)


class EventsFields(BaseModel):
    """Several events of an external worker."""

    model_config = _STRICT

    events: list[EventFields] = Field(min_length=1, description="All of them have a client_seq, or none has.")

    def report(self) -> Report:
        """All of them."""
        return Report(events=[event.event(f"events.{index}.") for index, event in enumerate(self.events)])


class ProgressFields(BaseModel):
    """How far an external task is."""

    model_config = _STRICT

    percent: float = Field(description="From 0 to 100.", json_schema_extra={"minimum": 0, "maximum": 100})
    message: _Words | None = Field(None, description="For people.")


class StepsFields(BaseModel):
    """How many steps of an external task are done."""

    model_config = _STRICT

    completed: Whole = Field(description="So many are done.", json_schema_extra={"minimum": 0})
    total: Whole = Field(description="Of so many.", json_schema_extra={"minimum": 1})
    current: _Words | None = Field(None, description="The name of the step under way.")


class ErrorFields(BaseModel):
    """Why an external task has failed."""

    model_config = _STRICT

    code: str = Field(
        description="For programs.", json_schema_extra={"pattern": rf"^[^\x00-\x20\x7f]{{1,{CODE_MAX}}}$"}
    )
    message: str = Field(description="For people.", json_schema_extra={"maxLength": MESSAGE_MAX})


class ReportFields(BaseModel):
    """What an external worker says about its task."""

    model_config = _SAYS_SOMETHING

    heartbeat: Annotated[bool | None, WithJsonSchema({"enum": [True, None]})] = Field(
        None, description="The worker lives; every other report says that, too."
    )
    progress: ProgressFields | None = Field(None, description="How far it is.")
    steps: StepsFields | None = Field(None, description="Without progress they are the percentage as well.")
    status: Annotated[TaskStatus, Field(strict=False)] | None = Field(
        None, description="running, or how the work has ended: completed, failed or, once it is asked for, cancelled."
    )
    result: Any = Field(None, description="Of a completed task, or what a cancelled one has; any JSON value.")
    error: ErrorFields | None = Field(None, description="Of a failed task, which needs it.")

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
