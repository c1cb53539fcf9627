"""The dev chain's routes, documented from their handlers' docstrings; served on the dev network only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from inspect import getdoc

from aiohttp import web

from api.route import Content, Parameter, Route, Tag

_NAME = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
_TAKES_BODY = ("POST", "PUT", "PATCH")
_ANYTHING = Content("As described.", {"*/*": {}})


def dev_routes(definitions: Iterable[web.RouteDef]) -> Iterator[Route]:
    """One route for each definition; the first line of the docstring is the summary."""
    for definition in definitions:
        summary, _, description = (getdoc(definition.handler) or definition.path).partition("\n")
        path = _NAME.sub(r"{\1}", definition.path)
        yield Route(
            definition.method,
            path,
            _operation(definition.method, path),
            Tag.DEV,
            summary.rstrip("."),
            definition.handler,
            description=description.strip(),
            parameters=tuple(
                Parameter(name, "path", f"The {name}.", {"type": "string"})
                for name in _NAME.findall(definition.path)
            ),
            body=_ANYTHING if definition.method in _TAKES_BODY else None,
            replies={200: _ANYTHING},
            errors=(400, 404),
        )


def _operation(method: str, path: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", path)
    return method.lower() + "".join(word[0].upper() + word[1:] for word in words)
