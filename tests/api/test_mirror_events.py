"""`/bridge/events`: nothing is missed, nobody holds memory, and everybody is let go in the end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.bridge.mirror_legs import KEPT_BYTES, PAGE_ENTRIES, Legs
from api.lifecycle import Phase
from bridge.mirror.book import Book
from bridge.mirror.pauses import pause, resume
from bridge.mirror.records import MIRROR_COLLECTIONS
from bridge.mirror.states import Direction, State
from energytag.records import DIRECTORY
from overlay.records import ENGINE_COLLECTIONS
from store.sqlite import SqliteStore
from tests.api.mirror_face import Face, Stream, deposit, exit_of, serving
from tests.bridge.minting_kit import NoLease

PATH = "/bridge/events"


@pytest.fixture
async def face(tmp_path: Path) -> AsyncIterator[Face]:
    async with serving(tmp_path, live={"heartbeat_secs": 0.8, "listeners": 4, "listeners_per_client": 3}) as face:
        yield face


@contextlib.asynccontextmanager
async def listening(face: Face, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with face.client.get(face.url + PATH + query, headers=names) as reply:
        assert reply.status == 200
        assert reply.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["X-Request-Id"]
        yield Stream(reply)


async def test_each_edge_is_an_event(face: Face) -> None:
    await face.opened(deposit(1))
    async with listening(face) as stream:
        (message,) = await face.opened(exit_of(2, wh=40))
        await face.moved(message, State.SRC_FINAL)
        first, second = await stream.some(2)
    assert first.name == "leg"
    at = first.data.pop("at")
    assert at.endswith("Z")
    assert first.data == {
        "message_id": message.id.hex(),
        "direction": "out",
        "from": None,
        "to": "OBSERVED",
        "wh": 40,
    }
    assert (second.data["from"], second.data["to"]) == ("OBSERVED", "SRC_FINAL")
    assert (first.id, second.id) == ("2", "3")


async def test_a_lost_connection_goes_on_where_it_was(face: Face) -> None:
    async with listening(face) as stream:
        messages = [(await face.opened(deposit(number)))[0] for number in range(1, 6)]
        heard = await stream.some(2)
    async with listening(face, Last_Event_ID=heard[-1].id or "") as stream:
        heard += await stream.some(3)
    assert [each.data["message_id"] for each in heard] == [each.id.hex() for each in messages]
    async with listening(face, "?after=3") as stream:
        assert [each.id for each in await stream.some(2)] == ["4", "5"]


async def test_an_entry_of_many_edges_has_its_number_at_its_end_alone(face: Face) -> None:
    """Who is cut off amid them asks for the entry before, and gets all of them again."""
    async with listening(face) as stream:
        await face.opened(*(deposit(number) for number in range(1, 5)))
        assert [each.id for each in await stream.some(4)] == [None, None, None, "1"]


async def test_from_the_beginning_over_many_pages(face: Face) -> None:
    entries = 2 * PAGE_ENTRIES + 5
    for number in range(1, entries + 1):
        await face.opened(deposit(number))
    async with listening(face, "?after=0") as stream:
        assert [each.id for each in await stream.some(entries)] == [str(n) for n in range(1, entries + 1)]


async def test_pauses_are_told_without_names_and_reasons(face: Face) -> None:
    async with listening(face) as stream:
        async with face.book.page() as page:
            pause(Direction.IN, "a secret reason", "somebody", page)
        async with face.book.page() as page:
            resume(Direction.IN, "somebody", page)
            page.note({"alarm": "of no public concern"})
        paused, resumed = await stream.some(2)
    assert (paused.name, paused.data["direction"], paused.data["is_paused"]) == ("pause", "in", True)
    assert resumed.data["is_paused"] is False
    assert "somebody" not in str(paused) and "secret" not in str(paused)


async def test_what_another_process_writes_is_heard(face: Face, tmp_path: Path) -> None:
    """The log is in the store: whoever mirrors, listeners at any process hear of it."""
    other = SqliteStore(tmp_path / "node.db", cache_mib=4)
    await other.open([*MIRROR_COLLECTIONS, *ENGINE_COLLECTIONS, *DIRECTORY])
    try:
        async with listening(face) as stream:
            async with Book(other, NoLease(), face.clock).page() as page:
                message = page.open(deposit())
            assert (await stream.next()).data["message_id"] == message.id.hex()
    finally:
        await other.close()


async def test_silence_is_broken_by_comments(face: Face) -> None:
    async with listening(face) as stream:
        with pytest.raises(TimeoutError):
            await stream.next(2)
        assert stream.comments >= 2


async def test_listeners_are_bounded(face: Face) -> None:
    async with listening(face), listening(face), listening(face):
        reply = await face.ask(PATH)
        assert (reply.status, reply.json()["code"]) == (429, "ERR_OVERLOADED")
        assert reply.headers["Retry-After"]
    await _let_in_again(face)


async def _let_in_again(face: Face) -> None:
    """Their places are free once the node has noticed."""
    async with asyncio.timeout(5):
        while True:
            async with face.client.get(face.url + PATH) as reply:
                if reply.status == 200:
                    return
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("given", ["-1", "one", "", "9" * 16, "1.0", "²"])
async def test_a_number_that_is_none(face: Face, given: str) -> None:
    reply = await face.client.get(face.url + PATH, headers={"Last-Event-ID": given})
    assert reply.status == 400
    reply.close()


async def test_a_number_that_was_not_reached_is_taken_for_now(face: Face) -> None:
    """After a backup was restored, say."""
    async with listening(face, Last_Event_ID="900000") as stream:
        await face.opened(deposit())
        assert (await stream.next()).id == "1"


async def test_a_question_for_the_headers_alone_is_answered_at_once(face: Face) -> None:
    async with asyncio.timeout(2):
        assert (await face.ask(PATH, "HEAD")).status == 200


async def test_all_are_let_go_when_the_node_stops(face: Face) -> None:
    async with listening(face) as stream:
        face.lifecycle.phase = Phase.STOPPING
        with pytest.raises(EOFError):
            await stream.next(3)


async def test_a_store_that_is_gone_ends_the_stream_and_nothing_else(face: Face) -> None:
    async with listening(face, "?after=0") as stream:
        await face.opened(deposit())
        await stream.next()
        await face.store.close()
        face.lifecycle.phase = Phase.STOPPING
        with pytest.raises(EOFError):
            await stream.next(5)


async def test_one_who_does_not_read_is_ended(face: Face) -> None:
    """Its socket is full, and then its time is over: what comes next is not written for it."""
    face.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.setblocking(False)
        await asyncio.get_running_loop().sock_connect(lazy, ("127.0.0.1", face.port))
        lazy.send(f"GET {PATH}?after=0 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        for number in range(20):
            await face.opened(*(deposit(100 * number + each) for each in range(1, 101)))
        async with asyncio.timeout(10):
            while not _is_reset(lazy):
                await asyncio.sleep(0.1)


def _is_reset(lazy: socket.socket) -> bool:
    """Whether the other side has let go, found out without reading."""
    try:
        lazy.send(b" ")
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


async def test_what_is_kept_for_all_is_bounded(face: Face) -> None:
    legs = Legs(face.store, lambda: False)
    newest = await legs.join()
    try:
        for number in range(60):
            await face.opened(*(deposit(200 * number + each) for each in range(1, 201)))
        number = newest
        while number < 60:
            told = await legs.after(number)
            assert len(told) <= PAGE_ENTRIES
            number = told[-1].number if told else number
            await legs.growth(0.05)
        assert sum(len(each.text) for each in legs._kept) <= KEPT_BYTES
    finally:
        legs.leave()
