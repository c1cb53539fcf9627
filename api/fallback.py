"""What no route takes: preflights, wrong methods, unknown paths."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aiohttp import web

from api.errors import error_reply
from api.replies import text_reply
from api.route import Route, Tag
from config.errors import BadRequest, ErrorCode, NotFound


class Fallback:
    """Knows the routes, to tell a wrong method from an unknown path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._methods: dict[str, set[str]] = {}
        for method, path in [(route.method, path) for route in routes for path in route.paths]:
            self._methods.setdefault(path, {"OPTIONS"}).add(method)
            if method == "GET":
                self._methods[path].add("HEAD")
        self._patterns = {path: _pattern(path) for path in self._methods if "{" in path}

    async def answer(self, request: web.Request) -> web.Response:
        if request.method == "OPTIONS":
            return text_reply("OK", "text/plain")
        allowed = self._allowed(request.path)
        if not allowed:
            raise NotFound("Route not found.", ErrorCode.ROUTE_NOT_FOUND)
        refusal = BadRequest(f"{request.path} takes {', '.join(allowed)}", ErrorCode.METHOD_NOT_ALLOWED)
        response = error_reply(refusal)
        response.headers["Allow"] = ", ".join(allowed)
        return response

    def _allowed(self, path: str) -> list[str]:
        methods = set(self._methods.get(path, ())) if path not in self._patterns else set()
        for template, pattern in self._patterns.items():
            if pattern.fullmatch(path):
                methods |= self._methods[template]
        return sorted(methods)

    def route(self) -> Route:
        """A route for the edge to guard; it is not documented, for it is none."""
        return Route("*", "*", "fallback", Tag.ABOUT, "Everything else", self.answer)


def _pattern(template: str) -> re.Pattern[str]:
    """A path template as a pattern: `/tx/{txid}` takes one segment for each name."""
    pieces = re.split(r"\{[^}]*\}", template)
    return re.compile("[^{}/]+".join(map(re.escape, pieces)))
