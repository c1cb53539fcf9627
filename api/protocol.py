"""aiohttp's connection handler, with this node's JSON for what aiohttp answers before any route is known."""

from __future__ import annotations

import structlog
from aiohttp import web

from api.errors import error_reply, unexpected_reply
from config.errors import BadRequest, ErrorCode

log = structlog.get_logger("metawatt.http")


class NodeProtocol(web.RequestHandler):
    """A request that breaks HTTP itself (a bad request line, headers above the limit) is the client's fault:
    400 in JSON, and no traceback in the log."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            # Half an answer is out; a second status line would be taken for its content.
            raise ConnectionError("the answer had begun")
        response = self._answer(status, exc, message)
        response.force_close()
        return response

    def _answer(self, status: int, exc: BaseException | None, message: str | None) -> web.Response:
        if status == 400:
            told = (message or "malformed").strip().splitlines()[0]
            return error_reply(BadRequest(f"The request is not HTTP: {told}", ErrorCode.BAD_REQUEST))
        log.error("connection handler failed", status=status, exc_info=exc)
        return unexpected_reply("")
