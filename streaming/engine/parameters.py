"""The parameters of a task type: what a client sends, what the record keeps, and what the handler gets.

Rules of this file:

- The record keeps JSON: what the client sent, and a default for each parameter that was left out.
- Each run validates that JSON once, as JSON. So does the start, which keeps nothing of it: it only refuses.
- A default counts like a value that was sent, and a factory is called once for each task.
- Annotations and validators are the author's code, which may raise anything.

Owns:   the model of a signature, its defaults as JSON, its JSON Schema; the words of a refusal.
Never:  keeps a validated value, or calls a handler.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, get_args

import structlog
from pydantic import AliasChoices, BaseModel, ConfigDict, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from streaming.errors import FieldError, InvalidParams, InvalidTaskType
from streaming.events import encode_payload
from streaming.rules.outcome import describe

ERRORS_MAX = 100
MESSAGE_MAX = 1000
FIELD_MAX = 200

_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")
_OPEN: ConfigDict = {**_CONFIG, "extra": "allow"}

#: What the author's code may raise, and not be meant for the process.
_FAILURES = (Exception, SystemExit)

#: Mistakes that depend on nothing but the value: not on the author's code, and not on the time.
_TIMELESS = frozenset(get_args(ErrorType)) - {
    "value_error",
    "assertion_error",
    "date_past",
    "date_future",
    "datetime_past",
    "datetime_future",
}

#: Where a JSON Schema has values rather than schemas.
_VALUES = {"default", "const", "enum", "examples"}

_log = structlog.get_logger(__name__)


class _Schema(GenerateJsonSchema):
    """A default without a JSON form is reported by us, in one line."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  # as pydantic declares it


class Parameters:
    """What a handler takes, but for the context.

    Args:
        owner: name of the task type.
        fields: annotation of each parameter, or annotation and default.
        open_end: whether there may be others, with any value.

    Raises:
        InvalidTaskType: a record could not keep one of them, or pydantic cannot validate it.
    """

    def __init__(self, owner: str, fields: Mapping[str, Any], *, open_end: bool = False) -> None:
        self._owner = owner
        config = _OPEN if open_end else _CONFIG
        try:
            self._model: type[BaseModel] = create_model(f"{owner}_params", __config__=config, **fields)
            schema = self._model.model_json_schema(schema_generator=_Schema)
            self._each = [_Parameter(owner, name, spec) for name, spec in fields.items()]
        except InvalidTaskType:
            raise
        except Exception as error:
            reason = describe(error).splitlines()[0]
            raise InvalidTaskType(f"The parameters of {owner} cannot be validated: {reason}") from None
        self._check_names()
        self._schema = self._write(schema)

    def complete(self, given: object) -> dict[str, Any]:
        """Check what a client sent, and add the defaults.

        Args:
            given: as the client sent it.

        Returns:
            For the record: a JSON object of its own, with every parameter.

        Raises:
            InvalidParams: one entry in ``errors`` for each wrong, missing or unknown parameter.
        """
        params, text, left_out = self._fill(given)
        self._validate(params, text, left_out)
        return params

    def read(self, params: dict[str, Any]) -> dict[str, Any]:
        """Make a handler's keyword arguments of what a record keeps.

        Raises:
            InvalidParams: they do not fit, or no longer.
        """
        try:
            return dict(vars(self._validate(*self._fill(params)[:2])))
        except InvalidParams as error:
            wrong = "; ".join(f"{each.field}: {each.message}" for each in error.errors)
            detail = f"The parameters of {self._owner} no longer fit: {wrong}"
            raise InvalidParams(detail, errors=error.errors) from None

    def schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of all of them."""
        schema: dict[str, Any] = json.loads(self._schema)
        return schema

    # -- at the registration ----------------------------------------------------------------------------------------

    def _check_names(self) -> None:
        names = [name for parameter in self._each for name in parameter.names]
        for name in names:
            if names.count(name) > 1:
                raise InvalidTaskType(f"Two parameters of {self._owner} are given as {name!r}.")

    def _write(self, schema: dict[str, Any]) -> str:
        """The JSON text of a schema, which shows the defaults as they are stored."""
        for parameter in self._each:
            shown = schema["properties"].get(parameter.names[0])
            if shown is not None and parameter.default is not None:
                shown["default"] = json.loads(parameter.default)
        try:
            return encode_payload(schema)
        except (TypeError, ValueError) as error:
            raise InvalidTaskType(
                f"The schema of the parameters of {self._owner} has no JSON form: {describe(error)}."
            ) from None

    # -- at a start, and at a run -----------------------------------------------------------------------------------

    def _fill(self, given: object) -> tuple[dict[str, Any], str, Collection[str]]:
        """What was sent, with the defaults; the same as text; and the names of those."""
        if not isinstance(given, dict):
            raise InvalidParams(
                f"The parameters of {self._owner} are wrong.", errors=[FieldError("params", "A JSON object.")]
            )
        refuse_unstorable({f"params.{name}": {name: value} for name, value in given.items()})
        text = encode_payload(given)
        params: dict[str, Any] = json.loads(text)
        missing = (each for each in self._each if not each.required and params.keys().isdisjoint(each.names))
        left_out = {each.names[0]: self._default(each) for each in missing}
        if left_out:
            params |= left_out
            text = encode_payload(params)
        return params, text, left_out.keys()

    def _default(self, parameter: _Parameter) -> Any:
        try:
            return json.loads(parameter.default or parameter.make())
        except _FAILURES:
            _log.exception("a default could not be made", task_type=self._owner, parameter=parameter.names[0])
        wrong = FieldError(f"params.{parameter.names[0]}", "No default could be made for it: give a value.")
        raise InvalidParams(f"The parameters of {self._owner} are wrong.", errors=[wrong])

    def _validate(self, params: dict[str, Any], text: str, left_out: Collection[str] = ()) -> BaseModel:
        detail = f"The parameters of {self._owner} are wrong"
        try:
            return self._model.model_validate_json(text)
        except ValidationError as error:
            wrong = [self._wrong(mistake, left_out) for mistake in _mistakes(error)[:ERRORS_MAX]]
            if error.error_count() > ERRORS_MAX:
                detail = f"{detail}; the first {ERRORS_MAX} of {error.error_count()} mistakes"
        except _FAILURES:
            _log.exception("a validator failed", task_type=self._owner)
            wrong = [
                FieldError(field, "It could not be checked: the check itself failed.") for field in self._broken(params)
            ]
        raise InvalidParams(f"{detail}.", errors=wrong)

    def _wrong(self, mistake: ErrorDetails, left_out: Collection[str]) -> FieldError:
        place, message = mistake["loc"], mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "extra_forbidden" and len(place) == 1:
            possible = ", ".join(parameter.names[0] for parameter in self._each)
            message = f"There is no such parameter; possible: {possible or 'none'}."
        elif place and place[0] in left_out:
            message = f"Its default does not fit: {message}"
        return _field_error(".".join(["params", *map(str, place)]), message)

    def _broken(self, params: dict[str, Any]) -> list[str]:
        """The parameters whose validators fail also alone; when it cannot be found out, all together."""
        return [f"params.{each.names[0]}" for each in self._each if each.breaks_on(params)] or ["params"]


class _Parameter:
    """One parameter.

    Attributes:
        names: by which it may be given; the first one is shown and stored.
        required: whether it has no default.
        default: JSON text of the default; None without one, and where a factory makes it.
    """

    def __init__(self, owner: str, name: str, spec: Any) -> None:
        self._model: type[BaseModel] = create_model(name, __config__=_CONFIG, **{name: spec})
        self._name = name
        self._called = f"{name!r} of {owner}"
        self._field = self._model.model_fields[name]
        self._refuse()
        self.required = self._field.is_required()
        self.names = self._all_names()
        made_later = self.required or self._field.default_factory is not None
        self.default = None if made_later else self._written_default()

    def make(self) -> str:
        """JSON text of a default that is made for one task."""
        return self._to_json(self._field.get_default(call_default_factory=True))

    def breaks_on(self, params: dict[str, Any]) -> bool:
        """Whether its validator fails, rather than to accept or to refuse."""
        try:
            self._model.model_validate_json(encode_payload({n: params[n] for n in self.names if n in params}))
        except ValidationError:
            return False
        except _FAILURES:
            return True
        return False

    def _refuse(self) -> None:
        """Raise if a record could not keep it."""
        field = self._field
        reason = None
        if _is_secret(self._model):
            reason = "is a secret, and parameters are stored and shown: take the name under which a handler finds it"
        elif field.exclude or field.exclude_if:
            reason = "is excluded, but a record shows all parameters"
        elif field.default_factory_takes_validated_data:
            reason = "has a default_factory with an argument, but it takes no argument: let the handler compute it"
        if reason is not None:
            raise InvalidTaskType(f"Parameter {self._called} {reason}.")

    def _all_names(self) -> tuple[str, ...]:
        alias = self._field.validation_alias or self._name
        names = tuple(alias.choices) if isinstance(alias, AliasChoices) else (alias,)
        texts = tuple(name for name in names if isinstance(name, str))
        if len(texts) < len(names):
            raise InvalidTaskType(f"Parameter {self._called} is given by one name, not by a path.")
        return texts

    def _written_default(self) -> str:
        """JSON text of a default that is the same for all tasks."""
        try:
            text = self._to_json(self._field.default)
        except Exception as error:
            raise InvalidTaskType(
                f"The default of parameter {self._called} has no JSON form: {describe(error).splitlines()[0]}."
            ) from None
        mistake = self._lasting_mistake(json.loads(text))
        if mistake is not None:
            raise InvalidTaskType(f"The default of parameter {self._called} does not fit: {mistake}.")
        return text

    def _lasting_mistake(self, default: Any) -> str | None:
        """What will be wrong with a default at every start. What the author's code says today may change until then."""
        try:
            self._model.model_validate_json(encode_payload({self.names[0]: default}))
        except ValidationError as error:
            return next((each["msg"] for each in _mistakes(error) if each["type"] in _TIMELESS), None)
        except _FAILURES:  # what a validator needs may not be there yet; if it still fails at a start, that one tells
            return None
        return None

    def _to_json(self, value: object) -> str:
        given: dict[str, Any] = {self._name: value}
        instance = self._model.model_construct(**given)
        (dumped,) = instance.model_dump(mode="json", by_alias=True, round_trip=True, warnings=False).values()
        return encode_payload(dumped)


def refuse_unstorable(fields: Mapping[str, object]) -> None:
    """Refuse values that have no JSON form, such as texts with lone surrogates.

    Args:
        fields: values by name.

    Raises:
        InvalidParams: one entry in ``errors`` for each that has none.
    """
    wrong = []
    for field, value in fields.items():
        if value is None or value == () or (type(value) is str and value.isascii()):
            continue  # nearly all of them, and nothing can be wrong with these
        try:
            json.loads(encode_payload(value))
        except (TypeError, ValueError, RecursionError) as error:
            wrong.append(_field_error(field, f"It has no JSON form: {describe(error)}."))
    if wrong:
        named = ", ".join(each.field for each in wrong[:5])
        raise InvalidParams(f"Without a JSON form: {named}.", errors=wrong[:ERRORS_MAX])


def _field_error(field: str, message: str) -> FieldError:
    """An entry that can be sent."""
    return FieldError(_text(field)[:FIELD_MAX], _text(message)[:MESSAGE_MAX])


def _text(value: str) -> str:
    return value.encode(errors="backslashreplace").decode()


def _mistakes(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_context=False, include_input=False)


def _is_secret(model: type[BaseModel]) -> bool:
    """Whether a parameter holds, however deep, one of pydantic's secrets, or what its author has marked as one."""
    made_of = _leaves(model.__pydantic_core_schema__)
    return any(map(_is_of_a_secret, made_of)) or _is_marked(model.model_json_schema(schema_generator=_Schema))


def _leaves(schema: Any) -> Iterator[Any]:
    """The functions and classes of a core schema; by nothing else a ``Secret[int]`` can be told."""
    if isinstance(schema, dict | list | tuple):
        for each in schema.values() if isinstance(schema, dict) else schema:
            yield from _leaves(each)
    elif inspect.isroutine(schema) or inspect.isclass(schema):
        yield schema


def _is_of_a_secret(made: Any) -> bool:
    return getattr(made, "__module__", "") == "pydantic.types" and "secret" in made.__qualname__.lower()


def _is_marked(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_is_marked, schema))
    if not isinstance(schema, dict):
        return False
    if schema.get("writeOnly") is True or schema.get("format") == "password":
        return True
    return any(_is_marked(part) for key, part in schema.items() if key not in _VALUES)
