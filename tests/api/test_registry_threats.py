"""What strangers, and holders of other tokens, try on the registry's HTTP interface."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

import orjson

from energytag.storage_records import SCRS
from energytag.storage_search import Wanted
from tests.api.meters import meters


async def test_a_token_that_is_no_utf_8_is_no_token(running: Any, raw_http: Any) -> None:
    request = b"GET /users/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer \xff.a.b\r\n\r\n"
    answer = await raw_http(running.server.port, [request])
    assert answer.startswith(b"HTTP/1.1 401 "), answer[:200]


async def test_cursors_of_ones_own_making(running: Any) -> None:
    """A cursor is no secret; one may be made with any position in it."""
    made = await meters(running)
    body = {"source_account_id": made.account_id, "source_user_id": made.users["holder"]}
    digest = sha256(f"{SCRS.name} {Wanted(made.account_id)!r}".encode()).hexdigest()[:16]
    for start_ms, status in ((0, 200), (2**63 - 1, 200), (2**63, 400), (2**64 - 1, 400)):
        cursor = urlsafe_b64encode(orjson.dumps([digest, start_ms, "x"])).decode()
        reply = await made.ask("holder", "POST", "/storage/query_scr", json=body | {"cursor": cursor})
        assert reply.status == status, reply.body


async def test_a_strangers_token_opens_nothing_of_an_account(running: Any) -> None:
    made = await meters(running)
    account = {"account_id": made.account_id}
    listed = await made.done("admin", "GET", "/actions", params=account)
    action = listed["actions"][0]["action_id"]
    hour = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T01:00:00Z"}
    for path, query in (
        (f"/accounts/{made.account_id}", {}),
        (f"/accounts/{made.account_id}/devices", {}),
        (f"/accounts/{made.account_id}/whitelist", {}),
        (f"/devices/{made.device_id}", {}),
        (f"/users/{made.users['holder']}", {}),
        (f"/actions/{action}", {}),
        (f"/wallet/actions/{action}", {}),
        ("/actions", account),
        ("/recurring", account),
        ("/wallet/outputs", account),
        ("/wallet/webhook", account),
        ("/consumption", account | hour),
        ("/measurements", {"device_id": made.device_id} | hour),
        ("/matching", account | hour),
        ("/statements/cancellation", account | hour),
        ("/statements/cancellation", {"action_id": action}),
    ):
        status, code, _ = await made.refused("stranger", "GET", path, params=query)
        assert (status, code) == (403, "ERR_FORBIDDEN"), (path, query)
