"""What the registry's models have in common: ids, moments, and how a body is read.

Models are pydantic; a body is checked once, at the edge, and becomes an action's `request` as JSON by
`written`. UUIDs are text in lower case, moments text by RFC 3339 in UTC that end in `Z`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from config.errors import BadRequest, ErrorCode

MAX_INTEGER: Final = 2**53 - 1
MAX_TEXT: Final = 512
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_UTC: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z").fullmatch
"""How nearly everything is spelled already; what is spelled otherwise is written anew."""


class InvalidFields(BadRequest):
    """A body that does not fit its model; `detail` has an entry for each fault, as EnergyTag's API asks."""

    default_code = ErrorCode.INVALID_FIELD

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(map(_sentence, detail[:5])))
        self.detail = detail


def _sentence(fault: Mapping[str, Any]) -> str:
    """A fault with the field that it is in, if it is in one."""
    field = ".".join(map(str, fault["loc"][1:]))
    return f"{field}: {fault['msg']}" if field else str(fault["msg"])


class Model(BaseModel):
    """A body. Names that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Reply(BaseModel):
    """An answer's body."""

    model_config = ConfigDict(extra="allow")


EXTENSION: Final[dict[str, Any]] = {"x-metawatt-extension": True}
"""Marks in OpenAPI what EnergyTag's specification does not have."""


def extension(description: str | None = None, **schema: Any) -> Any:
    """An optional field beyond the specification, None when it is not given."""
    return Field(None, description=description, json_schema_extra=EXTENSION, **schema)


def whole_number(value: Any) -> Any:
    """JSON has one kind of number: 5000.0 is whole. What is a fraction stays one, and is refused."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _uuid_text(value: Any) -> Any:
    if not isinstance(value, str) or _UUID(value):
        return value
    return str(UUID(value))


def _utc(value: str) -> str:
    moment = datetime.fromisoformat(value)
    if _UTC(value):
        return value
    if moment.tzinfo is None:
        raise ValueError("must name its zone: end it in Z for UTC")
    try:
        return moment_text(moment)
    except OverflowError:
        raise ValueError("must be within the years 1 to 9999 in UTC") from None


def _day(value: str) -> str:
    return date.fromisoformat(value).isoformat()


def moment_text(moment: datetime) -> str:
    """RFC 3339 in UTC, ending in Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment_of_ms(ms: int) -> str:
    return moment_text(datetime.fromtimestamp(ms / 1000, UTC))


def secs_of(moment: str) -> int:
    """Epoch seconds of a moment's text."""
    return int(datetime.fromisoformat(moment).timestamp())


Uuid = Annotated[str, BeforeValidator(_uuid_text), WithJsonSchema({"type": "string", "format": "uuid"})]
Moment = Annotated[str, AfterValidator(_utc), WithJsonSchema({"type": "string", "format": "date-time"})]
Day = Annotated[str, AfterValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Whole = Annotated[int, Field(ge=0, le=MAX_INTEGER, strict=True)]
Positive = Annotated[int, Field(ge=1, le=MAX_INTEGER, strict=True)]

M = TypeVar("M", bound=BaseModel)
_OWN: Final = "Value error, "
"""What pydantic puts before the messages of the models' own checks."""


def read(model: type[M], body: Any) -> M:
    """A body as its model; `InvalidFields` (422) says all that is wrong with it."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise InvalidFields(
            [
                {"loc": ["body", *each["loc"]], "msg": each["msg"].removeprefix(_OWN), "type": each["type"]}
                for each in error.errors(include_url=False, include_context=False, include_input=False)
            ]
        ) from None


def written(model: BaseModel) -> dict[str, Any]:
    """A model as JSON, without what was not given."""
    return model.model_dump(mode="json", exclude_none=True)
