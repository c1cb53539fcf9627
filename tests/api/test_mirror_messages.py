"""`/api/bridge/messages` and `/api/bridge/search`: what of a crossing is told, to whom, and how it is found."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.mirror.records import INBOX, ISSUES
from bridge.mirror.states import Direction, Hold, State
from bridge.solana.rpc import TokenBalance
from config.errors import Unavailable
from overlay.records import TRANSACTIONS
from store.port import Insert
from tests.api.mirror_face import (
    ADMIN,
    CUSTODY,
    INWARD,
    MINT,
    OWNER,
    TO_THE_END,
    Face,
    deposit,
    exit_of,
    serving,
)

UNKNOWN = "ERR_BRIDGE_MESSAGE_UNKNOWN"


@pytest.fixture
async def face(tmp_path: Path) -> AsyncIterator[Face]:
    async with serving(tmp_path) as face:
        yield face


def ids(told: Any) -> list[str]:
    return [each["message_id"] for each in told["messages"]]


# One


async def test_a_crossing_is_told_as_both_chains_have_it(face: Face) -> None:
    (message,) = await face.opened(deposit(5, wh=2500, instruction=2))
    txid = bytes(range(32))
    facts = {"readings": ["aa" * 16], "account_id": "an account", "issuances": [["issuance-1", 3, 2500]]}
    await face.moved(message, *INWARD, destination_tx=txid, attempt=1, facts=facts, sent_ms=face.clock.now_ms)
    told = await face.get(f"/api/bridge/messages/{message.id.hex()}")
    signature = str(Signature.from_bytes((5).to_bytes(64, "big")))
    assert told["source"] == {"chain": "solana", "transaction": signature, "event": "2.0.0"}
    assert told["destination"] == {"chain": "bsv", "transaction": txid[::-1].hex()}
    assert (told["wh"], told["units"], told["state"]) == (2500, "2500000000", "DST_SENT")
    outpoint = f"{txid[::-1].hex()}.3"
    assert told["certificates"] == [{"issuance_id": "issuance-1", "outpoint": outpoint, "wh": 2500}]
    assert told["receipt"] is None
    assert told["sent_at"].endswith("Z")


async def test_which_readings_it_is_of_is_for_the_operator(face: Face) -> None:
    """They say when somebody was at home; `/api/meters` tells them to who acts for the account."""
    (message,) = await face.opened(deposit())
    await face.moved(message, State.SRC_FINAL, facts={"readings": ["aa" * 16], "lots": [[1, 10]], "raw": b"\x01"})
    path = f"messages/{message.id.hex()}"
    told = await face.get(f"/api/bridge/{path}")
    assert "facts" not in told
    assert "aa" * 16 not in str(told)
    assert (await face.refused(f"/api/admin/bridge/{path}"))[0] == 401
    assert (await face.refused(f"/api/admin/bridge/{path}", token="another"))[0] == 403
    told = await face.get(f"/api/admin/bridge/{path}", token=ADMIN)
    assert told["facts"] == {"readings": ["aa" * 16], "lots": [[1, 10]], "raw": "01"}
    assert told["log_entries"] == [1, 2]


@pytest.mark.parametrize(("code", "shown"), [(Hold.DUST, "too little"), (Hold.OPERATOR, None)])
async def test_why_it_is_held_is_told_but_for_an_operators_words(face: Face, code: Hold, shown: str | None) -> None:
    (message,) = await face.opened(deposit())
    async with face.book.page() as page:
        page.hold(message, code, "too little")
    path = f"messages/{message.id.hex()}"
    assert (await face.get(f"/api/bridge/{path}"))["reason"] == {"code": code.value, "text": shown}
    told = await face.get(f"/api/admin/bridge/{path}", token=ADMIN)
    assert told["reason"] == {"code": code.value, "text": "too little"}


async def test_a_refund_goes_back_to_where_it_came_from(face: Face) -> None:
    (message,) = await face.opened(deposit())
    async with face.book.page() as page:
        page.hold(message, Hold.DUST, "too little")
        page.move(message, State.REFUND_ACCOUNTED, is_refund=True)
    told = await face.get(f"/api/bridge/messages/{message.id.hex()}")
    assert (told["is_refund"], told["destination"]["chain"]) == (True, "solana")


@pytest.mark.parametrize("text", ["00" * 32, "00", "zz" * 32, "AB" * 32, "00" * 33])
async def test_there_is_no_such_message(face: Face, text: str) -> None:
    for path in (f"/api/bridge/messages/{text}", f"/api/bridge/messages/{text}/receipt"):
        assert (await face.refused(path))[:2] == (404, UNKNOWN)


async def test_a_receipt_is_there_once_it_has_ended(face: Face) -> None:
    """What is in it: tests/bridge/test_mirror_face.py."""
    (message,) = await face.opened(exit_of())
    path = f"/api/bridge/messages/{message.id.hex()}"
    status, code, text = await face.refused(f"{path}/receipt")
    assert (status, code) == (409, "ERR_STATUS_FORBIDS")
    assert "OBSERVED" in text
    assert (await face.get(path))["receipt"] is None
    await face.moved(message, *TO_THE_END)
    assert (await face.get(path))["receipt"] == f"{path}/receipt"


# Lists


async def test_pages_are_newest_first_and_lead_through_all(face: Face) -> None:
    made = [(await face.opened(deposit(number)))[0] for number in range(1, 8)]
    told = await face.get("/api/bridge/messages?limit=3")
    found = ids(told)
    while told["cursor"]:
        told = await face.get(f"/api/bridge/messages?limit=3&cursor={told['cursor']}")
        found += ids(told)
    assert found == [each.id.hex() for each in reversed(made)]


async def test_of_one_state_and_of_one_direction(face: Face) -> None:
    entering = await face.opened(*(deposit(number) for number in range(1, 6)))
    leaving = await face.opened(*(exit_of(number) for number in range(1, 4)))
    await face.moved(entering[0], State.SRC_FINAL)
    assert ids(await face.get("/api/bridge/messages?state=SRC_FINAL")) == [entering[0].id.hex()]
    assert set(ids(await face.get("/api/bridge/messages?direction=out"))) == {each.id.hex() for each in leaving}
    told = await face.get("/api/bridge/messages?direction=in&state=OBSERVED")
    assert set(ids(told)) == {each.id.hex() for each in entering[1:]}


async def test_a_direction_is_sifted_within_bounds_and_its_cursor_leads_on(face: Face) -> None:
    """One message of the other kind, behind many."""
    (first,) = await face.opened(deposit())
    await face.opened(*(exit_of(number) for number in range(1, 61)))
    pages, found, cursor = 0, [], ""
    while True:
        told = await face.get(f"/api/bridge/messages?direction=in&limit=2{cursor}")
        pages, found = pages + 1, found + ids(told)
        if told["cursor"] is None:
            break
        cursor = f"&cursor={told['cursor']}"
    assert found == [first.id.hex()]
    assert 1 < pages < 10


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("state=NOWHERE", 422),
        ("direction=up", 422),
        ("limit=0", 422),
        ("limit=1001", 422),
        ("cursor=!!", 400),
        ("else=1", 422),
    ],
)
async def test_questions_that_are_none(face: Face, query: str, status: int) -> None:
    assert (await face.refused(f"/api/bridge/messages?{query}"))[0] == status


# Search


async def test_by_the_transaction_that_it_came_of_or_became(face: Face) -> None:
    first, second = await face.opened(deposit(1), deposit(1, instruction=1))
    (leaving,) = await face.opened(exit_of(77, index=4))
    txid, signature = bytes(range(32)), bytes(range(64))
    await face.moved(first, *INWARD, destination_tx=txid, facts={"issuances": [["i", 2, 1000]]})
    await face.moved(leaving, *INWARD, destination_tx=signature)
    source = str(Signature.from_bytes((1).to_bytes(64, "big")))
    lock = (77).to_bytes(32, "big")[::-1].hex()
    wanted = {
        f"signature={source}": {first.id.hex(), second.id.hex()},
        f"txid={txid[::-1].hex()}": {first.id.hex()},
        f"outpoint={txid[::-1].hex()}.2": {first.id.hex()},
        f"txid={lock}": {leaving.id.hex()},
        f"outpoint={lock}.4": {leaving.id.hex()},
        f"signature={Signature.from_bytes(signature)}": {leaving.id.hex()},
    }
    for query, found in wanted.items():
        told = await face.get(f"/api/bridge/search?{query}")
        assert set(ids(told)) == found, query
        assert told["is_complete"]
    assert face.cluster.asked == 0


async def test_by_a_transaction_that_carried_it_besides(face: Face) -> None:
    """The withdrawal of an exit's certificate is not its destination, but the bridge's own all the same."""
    (message,) = await face.opened(exit_of())
    txid = bytes(range(32))
    row = {"_id": txid, "messages": [message.id], "purpose": "complete", "open_ms": None}
    await face.store.commit([Insert(ISSUES, row)])
    assert ids(await face.get(f"/api/bridge/search?txid={txid[::-1].hex()}")) == [message.id.hex()]


def balance(account: Pubkey, mint: Pubkey, units: int) -> TokenBalance:
    return TokenBalance(account, mint, OWNER, OWNER, units)


OTHER = Pubkey.from_bytes(bytes([8]) * 32)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (None, "not final yet"),
        (SimpleNamespace(error="x", pre_tokens=(), post_tokens=()), "failed"),
        (SimpleNamespace(error=None, pre_tokens=(), post_tokens=(balance(CUSTODY, OTHER, 5),)), str(MINT)),
        (SimpleNamespace(error=None, pre_tokens=(), post_tokens=(balance(OTHER, MINT, 5),)), str(CUSTODY)),
        (SimpleNamespace(error=None, pre_tokens=(), post_tokens=(balance(CUSTODY, MINT, 5),)), "ask again"),
    ],
)
async def test_a_transaction_that_began_nothing_is_told_why(face: Face, seen: Any, said: str) -> None:
    signature = Signature.from_bytes(bytes(range(64)))
    if seen is not None:
        face.cluster.seen[signature] = seen
    status, code, text = await face.refused(f"/api/bridge/search?signature={signature}")
    assert (status, code) == (404, UNKNOWN)
    assert said in text


async def test_what_is_not_taken_in_yet_is_told_so(face: Face) -> None:
    signature, txid = bytes(range(64)), bytes(range(32))
    rows = [(signature + bytes(6), Direction.IN), (txid + bytes(4), Direction.OUT)]
    await face.store.commit([Insert(INBOX, {"_id": key, "lane": way.value, "at_ms": 1}) for key, way in rows])
    for query in (f"signature={Signature.from_bytes(signature)}", f"txid={txid[::-1].hex()}"):
        status, _code, text = await face.refused(f"/api/bridge/search?{query}")
        assert status == 404
        assert "within moments" in text


async def test_a_cluster_that_does_not_answer_is_no_fault(face: Face) -> None:
    async def silent(_signature: Signature) -> Any:
        raise Unavailable("no answer")

    face.cluster.transaction = silent  # type: ignore[method-assign]
    status, code, _text = await face.refused(f"/api/bridge/search?signature={Signature.from_bytes(bytes(64))}")
    assert (status, code) == (404, UNKNOWN)


async def test_an_output_that_is_not_the_bridges(face: Face) -> None:
    txid = bytes(range(32))
    assert "does not know" in (await face.refused(f"/api/bridge/search?outpoint={txid[::-1].hex()}.0"))[2]
    await face.store.commit([Insert(TRANSACTIONS, {"_id": txid})])
    status, code, text = await face.refused(f"/api/bridge/search?outpoint={txid[::-1].hex()}.0")
    assert (status, code) == (404, UNKNOWN)
    assert face.mirror.identity.hex() in text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 422),
        (f"txid={'00' * 32}&outpoint={'00' * 32}.0", 422),
        ("signature=abc", 400),
        (f"signature={'1' * 80}", 400),
        (f"txid={'zz' * 32}", 400),
        ("outpoint=00.1", 400),
        (f"outpoint={'00' * 32}.4294967296", 400),
        (f"outpoint={'00' * 32}.-1", 400),
    ],
)
async def test_searches_that_are_none(face: Face, query: str, status: int) -> None:
    assert (await face.refused(f"/api/bridge/search?{query}"))[0] == status
