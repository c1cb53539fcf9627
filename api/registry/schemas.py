"""The registry's part of `/openapi.json`: components made from the very models that bodies are read by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

Json = dict[str, Any]
Mode: TypeAlias = Literal["validation", "serialization"]
Use: TypeAlias = tuple[type[BaseModel], Mode]
"""A model, and whether bodies are read by it or written from it."""

_TEMPLATE: Final = "#/components/schemas/{model}"

VALIDATION: Final[Mapping[str, Json]] = {
    "ValidationError": {
        "type": "object",
        "properties": {
            "loc": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
            "msg": {"type": "string"},
            "type": {"type": "string"},
        },
        "required": ["loc", "msg", "type"],
    },
    "HTTPValidationError": {
        "type": "object",
        "properties": {
            "detail": {"type": "array", "items": {"$ref": "#/components/schemas/ValidationError"}},
            "status": {"type": "string", "const": "error"},
            "message": {"type": "string"},
            "code": {"type": "string"},
        },
        "required": ["detail", "status", "message", "code"],
    },
}
"""What 422 answers, in EnergyTag's shape and with the members that every error of this node has."""


class _Untitled(GenerateJsonSchema):
    """Without a title for each field, which would repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def model_schemas(uses: Iterable[Use]) -> tuple[dict[Use, Json], Json]:
    """For each use of a model a reference to its component, and the components."""
    listed = list(uses)
    references, whole = models_json_schema(listed, schema_generator=_Untitled, ref_template=_TEMPLATE)
    components = {name: _untitled(schema) for name, schema in whole.get("$defs", {}).items()}
    return {use: references[use] for use in listed}, components


def _untitled(schema: Json) -> Json:
    return {key: value for key, value in schema.items() if key != "title"}
