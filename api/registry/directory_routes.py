"""The directory's routes, as the application mounts them and the documentation tells of them."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel

from api.registry.nouns import Noun
from api.registry.paging import PAGING
from api.route import Access, Content, Handler, Parameter, Route, json_content
from energytag.models.directory import ActionLeft

_READING: Final = (401, 403, 404, 422, 503)
_WRITING: Final = (400, 401, 403, 404, 408, 409, 413, 415, 422, 503)
_CHANGED_LATER: Final = json_content("The action takes longer: ask for it by its id.", ActionLeft)
_SUMMARIES: Final = {
    "create": "Register {article} {name}",
    "read": "{Article} {name}",
    "update": "Change {article} {name}",
    "delete": "Delete {article} {name}; answered with what it was",
}


def noun_route(noun: Noun, method: str, verb: str, handler: Handler, body: type[BaseModel] | None = None) -> Route:
    """One of EnergyTag's operations, under the short path and the doubled one."""
    has_id = verb != "create"
    tail = f"/{{{noun.id_name}}}" if has_id else ""
    return Route(
        method,
        f"/{noun.plural}{tail}",
        f"{verb}{noun.name.capitalize()}",
        noun.tag,
        _summary(noun, verb),
        handler,
        parameters=(_id_parameter(noun),) if has_id else (),
        body=None if body is None else json_content("JSON.", body),
        replies=_replies(method, noun.reply),
        errors=_READING if method == "GET" else _WRITING,
        access=Access.CALLER,
        when_ready=True,
        aliases=(f"/{noun.plural}/{noun.name}{tail}",),
    )


def list_route(noun: Noun, handler: Handler) -> Route:
    """All that the caller may see of a kind."""
    return Route(
        "GET",
        f"/{noun.plural}",
        f"list{noun.plural.capitalize()}",
        noun.tag,
        f"The {noun.plural} that the caller may see",
        handler,
        parameters=PAGING,
        replies=_replies("GET", noun.list_reply),
        errors=(400, 401, 403, 422, 503),
        access=Access.CALLER,
        when_ready=True,
        extension=True,
    )


def extra_route(
    noun: Noun,
    method: str,
    tail: str,
    operation: str,
    summary: str,
    handler: Handler,
    reply: type[BaseModel],
    body: type[BaseModel] | None = None,
    parameters: tuple[Parameter, ...] = (),
) -> Route:
    """An operation of one noun's own, beyond the specification; `tail` is its path below the noun's."""
    own = (_id_parameter(noun),) if f"{{{noun.id_name}}}" in tail else ()
    return Route(
        method,
        f"/{noun.plural}{tail}",
        operation,
        noun.tag,
        summary,
        handler,
        parameters=(*own, *parameters),
        body=None if body is None else json_content("JSON.", body),
        replies=_replies(method, reply),
        errors=(400, *_READING) if method == "GET" else _WRITING,
        access=Access.CALLER,
        when_ready=True,
        extension=True,
    )


def _replies(method: str, reply: type[BaseModel]) -> dict[int, Content]:
    done = {200: json_content("Done.", reply)}
    return done if method == "GET" else {**done, 202: _CHANGED_LATER}


def _summary(noun: Noun, verb: str) -> str:
    article = "an" if noun.name[0] in "aeio" else "a"
    return _SUMMARIES[verb].format(article=article, Article=article.capitalize(), name=noun.name)


def _id_parameter(noun: Noun) -> Parameter:
    return Parameter(noun.id_name, "path", f"The {noun.name}'s id.", {"type": "string", "format": "uuid"}, True)
