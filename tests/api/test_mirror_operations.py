"""`/api/admin/bridge`: orders with who and why, and the log. Carried out by the real `Operating`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bridge.mirror.books.accounting import Accountant
from bridge.mirror.operators.operating import Operating
from bridge.mirror.provenance.drawing import Lots
from bridge.mirror.records import COMMANDS
from bridge.mirror.states import Direction, Hold
from certificates.canonical import canonical
from store.port import Find
from tests.api.mirror_face import ADMIN, Face, deposit, exit_of, serving

BASE = "/api/admin/bridge"
WHY = {"by": "Ada", "reason": "a drill"}


@pytest.fixture
async def face(tmp_path: Path) -> AsyncIterator[Face]:
    async with serving(tmp_path, order_secs=0.3) as face:
        yield face


@contextlib.asynccontextmanager
async def working(face: Face) -> AsyncIterator[None]:
    """The process that has the lease, carrying orders out."""
    ground = face.mirror.parts.ground
    operating = Operating(ground, Accountant(ground, Lots(ground), face.mirror.pauses), face.mirror.pauses)

    async def work() -> None:
        while True:
            await operating.round()
            await asyncio.sleep(0.02)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def order(face: Face, tail: str, **body: Any) -> tuple[int, Any]:
    answer = await face.ask(BASE + tail, "POST", token=ADMIN, json=WHY | body)
    return answer.status, answer.json()


async def test_a_direction_is_paused_and_resumed(face: Face) -> None:
    async with working(face):
        status, told = await order(face, "/pause", direction="in")
        assert (status, told["state"], told["paused"]) == (200, "done", True)
        paused = (await face.get(f"{BASE}/pauses", token=ADMIN))["paused"]
        assert (paused["in"]["by"], paused["in"]["reason"]) == ("Ada", "a drill")
        status, told = await order(face, "/resume", direction="in")
        assert (status, told["paused"]) == (200, False)
        assert (await face.get(f"{BASE}/pauses", token=ADMIN))["paused"] == {}
        assert (await order(face, "/resume", direction="out"))[1]["code"] == "ERR_STATUS_FORBIDS"


async def test_a_message_is_held_and_goes_on(face: Face) -> None:
    (message,) = await face.opened(deposit())
    path = f"/messages/{message.id.hex()}"
    async with working(face):
        assert (await order(face, f"{path}/release"))[0] == 409
        status, told = await order(face, f"{path}/hold")
        assert (status, told["message_state"]) == (200, "HELD")
        shown = await face.get(BASE + path, token=ADMIN)
        assert shown["reason"]["code"] == Hold.OPERATOR
        assert (await order(face, f"{path}/release"))[1]["message_state"] == "OBSERVED"


async def test_an_exit_whose_source_is_nowhere_is_written_off(face: Face) -> None:
    (message,) = await face.opened(exit_of())
    path = f"/messages/{message.id.hex()}"
    async with working(face):
        assert (await order(face, f"{path}/write-off"))[1]["code"] == "ERR_STATUS_FORBIDS"
        await order(face, f"{path}/hold")
        status, told = await order(face, f"{path}/write-off")
    assert (status, told["message_state"]) == (200, "SRC_ORPHANED")


async def test_what_nobody_carries_out_yet_is_told_later(face: Face) -> None:
    status, told = await order(face, "/pause", direction="out")
    assert (status, told["state"]) == (202, "open")
    later = f"{BASE}/orders/{told['command']}"
    assert (await face.ask(later, token=ADMIN)).status == 202
    async with working(face):
        async with asyncio.timeout(5):
            while (await face.ask(later, token=ADMIN)).status == 202:
                await asyncio.sleep(0.02)
    assert (await face.get(later, token=ADMIN))["direction"] == "out"
    assert await face.mirror.pauses.paused(Direction.OUT)
    assert (await face.refused(f"{BASE}/orders/none", token=ADMIN))[0] == 404


@pytest.mark.parametrize(
    ("tail", "body"),
    [
        ("/pause", {"direction": "in", "by": ""}),
        ("/pause", {"direction": "in", "reason": ""}),
        ("/pause", {"direction": "in", "reason": "x" * 501}),
        ("/pause", {"direction": "up"}),
        ("/pause", {}),
        ("/pause", {"direction": "in", "even_breached": True}),
        ("/resume", {"direction": "in", "even_breached": "yes"}),
        ("/resume", {"direction": "in", "by": None}),
    ],
)
async def test_who_and_why_are_asked_for(face: Face, tail: str, body: Any) -> None:
    assert (await order(face, tail, **body))[0] == 422
    assert await face.store.count(COMMANDS, Find("open")) == 0


async def test_it_is_for_the_operator_alone(face: Face) -> None:
    (message,) = await face.opened(deposit())
    of_message = f"{BASE}/messages/{message.id.hex()}"
    posts = [
        f"{BASE}/pause",
        f"{BASE}/resume",
        *(f"{of_message}/{each}" for each in ("hold", "release", "refund", "write-off")),
    ]
    gets = [f"{BASE}/log", f"{BASE}/pauses", f"{BASE}/orders/x", of_message]
    for method, path in [*(("POST", each) for each in posts), *(("GET", each) for each in gets)]:
        assert (await face.refused(path, method, json=WHY))[0] == 401, path
        assert (await face.refused(path, method, json=WHY, token="another"))[0] == 403, path


async def test_a_message_that_is_none(face: Face) -> None:
    for text in ("00" * 32, "x"):
        status, told = await order(face, f"/messages/{text}/hold")
        assert (status, told["code"]) == (404, "ERR_BRIDGE_MESSAGE_UNKNOWN")


async def test_the_log_is_read_from_its_first_entry_on_and_can_be_checked(face: Face) -> None:
    for number in range(1, 8):
        await face.opened(deposit(number))
    entries, cursor = [], ""
    while True:
        told = await face.get(f"{BASE}/log?limit=3{cursor}", token=ADMIN)
        entries += told["entries"]
        if told["cursor"] is None:
            break
        cursor = f"&cursor={told['cursor']}"
    assert [each["number"] for each in entries] == list(range(1, 8))
    previous = bytes(32).hex()
    for each in entries:
        assert each["entry"]["previous"] == previous
        previous = sha256(canonical(each["entry"])).hexdigest()
        assert each["hash"] == previous
    assert (await face.get(f"{BASE}/log?cursor=900", token=ADMIN)) == {"entries": [], "cursor": None}
