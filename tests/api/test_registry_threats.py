"""What strangers, and holders of other tokens, try on the registry's HTTP interface."""

from __future__ import annotations

from typing import Any


async def test_a_token_that_is_no_utf_8_is_no_token(running: Any, raw_http: Any) -> None:
    request = b"GET /users/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer \xff.a.b\r\n\r\n"
    answer = await raw_http(running.server.port, [request])
    assert answer.startswith(b"HTTP/1.1 401 "), answer[:200]
