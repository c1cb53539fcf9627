"""Questions in the query of a URL, read by models and told of in the documentation from the same models."""

from __future__ import annotations

from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel

from api.route import Parameter
from energytag.models.common import InvalidFields, read

M = TypeVar("M", bound=BaseModel)


def question_of(request: web.Request, model: type[M]) -> M:
    """The query as its model; `InvalidFields` (422) says all that is wrong with it."""
    query = request.query
    twice = [name for name in dict.fromkeys(query) if len(query.getall(name)) > 1]
    if twice:
        raise InvalidFields(
            [{"loc": ["query", name], "msg": "is given twice", "type": "value_error"} for name in twice]
        )
    try:
        return read(model, dict(query))
    except InvalidFields as error:
        raise InvalidFields([{**each, "loc": ["query", *each["loc"][1:]]} for each in error.detail]) from None


def parameters_of(model: type[BaseModel]) -> tuple[Parameter, ...]:
    """The fields of a question as parameters."""
    schema = model.model_json_schema()
    required = schema.get("required", ())
    return tuple(
        Parameter(
            name, "query", each.get("description", ""), _plain(each, schema.get("$defs", {})), name in required
        )
        for name, each in schema["properties"].items()
    )


def _plain(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A field's schema without references, and without null: a parameter that is not given is left out."""
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **schema}
    options = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if options:
        schema = {**options[0], **schema}
    left_out = ("anyOf", "$ref", "title", "description")
    return {
        key: value
        for key, value in schema.items()
        if key not in left_out and not (key == "default" and value is None)
    }
