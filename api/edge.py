"""What surrounds every handler: request ids, limits, readiness, errors, metrics and the log.

It wraps each handler once, when the application is made, instead of standing in aiohttp's chain of
middlewares: what a route needs (its counters, whether it is logged) is looked up once and not per request.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from itertools import count
from time import perf_counter
from typing import Final

import structlog
from aiohttp import web
from structlog.contextvars import bind_contextvars

from api.access import Authorise
from api.errors import error_reply, unexpected_reply
from api.lifecycle import Lifecycle
from api.limits import TokenBuckets, client_of
from api.metrics import HttpMetrics
from api.replies import COMMON, OWN_ID, REQUEST_ID
from api.route import Access, Handler, Route, Tag
from config.errors import BadRequest, ErrorCode, MetawattError

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# nginx's status for a client that went away; it is counted, nobody receives it.
_CLIENT_GONE: Final = 499
# Probes must get through; and the dev chain is what the node itself talks to.
_UNLIMITED: Final = frozenset({Tag.HEALTH, Tag.DEV})
log = structlog.get_logger("metawatt.http")


class RequestIds:
    """Ids that are unique over restarts: a random prefix and a number."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(6)
        self._numbers = count(1)

    def take(self, offered: str | None) -> str:
        """The client's own id when it is a sane one, else a new one."""
        if offered is not None and _SANE_ID.fullmatch(offered):
            return offered
        return f"{self._prefix}-{next(self._numbers):x}"


class Edge:
    """Makes guarded handlers. `buckets` is None when clients are not limited."""

    def __init__(
        self,
        metrics: HttpMetrics,
        lifecycle: Lifecycle,
        buckets: TokenBuckets | None,
        authorise: Mapping[Access, Authorise],
        verbose: bool,
    ) -> None:
        self._metrics = metrics
        self._lifecycle = lifecycle
        self._buckets = buckets
        self._authorise = authorise
        self._verbose = verbose
        self._ids = RequestIds()

    def guard(self, route: Route) -> Handler:
        """The handler of a route with everything around it. It never raises, but for cancellation."""
        meter = self._metrics.meter(route.method, route.path)
        logged = self._logger(route)
        take_id = self._ids.take
        lifecycle = self._lifecycle
        is_waited_for = not route.stays_open

        async def guarded(request: web.Request) -> web.StreamResponse:
            started = perf_counter()
            request_id = take_id(request.headers.get(REQUEST_ID))
            request[OWN_ID] = request_id
            # Each request has a task, and so a context, of its own: nothing has to be unbound.
            bind_contextvars(request_id=request_id)
            lifecycle.in_flight += is_waited_for
            try:
                response = await self._answer(route, request, request_id)
            finally:
                if is_waited_for:
                    lifecycle.left()
            _complete(response, request_id)
            seconds = perf_counter() - started
            meter.observe(response.status, seconds)
            if logged is not None:
                logged(request, response, request_id, seconds)
            return response

        return guarded

    async def _answer(self, route: Route, request: web.Request, request_id: str) -> web.StreamResponse:
        try:
            if self._buckets is not None and route.tag not in _UNLIMITED:
                self._buckets.take(client_of(request.remote))
            if route.access is not Access.PUBLIC:
                self._authorise[route.access](request)
            if route.when_ready and not self._lifecycle.ready:
                self._lifecycle.demand_ready()
            return await route.handler(request)
        except MetawattError as error:
            return self._refusal(error, route, request, request_id)
        except (ConnectionError, web.RequestPayloadError) as error:
            if _gone(request):
                self._metrics.disconnects += 1
                return web.Response(status=_CLIENT_GONE)
            if isinstance(error, web.RequestPayloadError):
                return _broken_body(error)
            return self._fault(error, route, request, request_id)
        except Exception as error:
            return self._fault(error, route, request, request_id)

    def _fault(self, error: Exception, route: Route, request: web.Request, request_id: str) -> web.StreamResponse:
        log.error("request failed", request_id=request_id, route=route.path, exc_info=error)
        self._metrics.count_error(ErrorCode.INTERNAL)
        if request.writer.output_size and request.transport is not None:
            # Half an answer is out: what would follow it would be taken for the other half.
            request.transport.abort()
        return unexpected_reply(request_id)

    def _refusal(
        self, error: MetawattError, route: Route, request: web.Request, request_id: str
    ) -> web.StreamResponse:
        response = error_reply(error)
        if response.status == 500:
            return self._fault(error, route, request, request_id)
        self._metrics.count_error(error.code)
        return response

    def _logger(self, route: Route) -> Callable[[web.Request, web.StreamResponse, str, float], None] | None:
        """The line for each request; None for a quiet route, unless everything is told."""
        if route.quiet and not self._verbose:
            return None
        tell = log.debug if route.quiet else log.info

        def line(request: web.Request, response: web.StreamResponse, request_id: str, seconds: float) -> None:
            tell(
                "request",
                request_id=request_id,
                method=request.method,
                path=request.rel_url.raw_path,
                status=response.status,
                ms=round(seconds * 1000, 2),
                client=request.remote,
            )

        return line


def _gone(request: web.Request) -> bool:
    """Whether there is nobody left to answer."""
    return request.transport is None or request.transport.is_closing()


def _broken_body(error: Exception) -> web.StreamResponse:
    """The reply to a body that breaks HTTP's framing; what comes after it cannot be told apart."""
    response = error_reply(BadRequest(f"The body cannot be read: {error}", ErrorCode.BAD_REQUEST))
    response.force_close()
    return response


def _complete(response: web.StreamResponse, request_id: str) -> None:
    """Put on what every reply carries; a stream has put it on itself before it began."""
    if response.prepared:
        return
    headers = response.headers
    headers[REQUEST_ID] = request_id
    if "Access-Control-Allow-Origin" not in headers:
        for name, value in COMMON:
            headers[name] = value
