"""What strangers may send: always an answer of JSON-RPC, never a fault of the cluster's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import base58
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solders.keypair import Keypair
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.cluster.rpc.envelope import read_calls
from bridge.cluster.rpc.limits import BATCH_MOST_CALLS, BODY_MOST_BYTES, MESSAGE_MOST_BYTES
from bridge.cluster.rpc.service import Service
from bridge.cluster.rpc.session import Session
from overlay.clock import system_now_ms
from store.sqlite import SqliteStore

# Those that wait for, or change, what the others look at.
LEFT_OUT = frozenset({"dev_advance", "dev_fork", "dev_prune"})
INTERNAL = -32603
ADDRESS = str(Keypair().pubkey())
SUBSCRIPTIONS = [
    f"{kind}{verb}"
    for kind in ("account", "logs", "program", "root", "signature", "slot")
    for verb in ("Subscribe", "Unsubscribe")
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=100).filter(lambda text: not any("\ud800" <= each <= "\udfff" for each in text)),
    st.sampled_from([ADDRESS, "1" * 64, "base64", "jsonParsed", "finalized", "", "AQ=="]),
)
NAMES = (
    "commitment encoding dataSlice filters memcmp bytes offset length limit before until accounts addresses mint "
    "programId mentions rate next seed drop signatures minContextSlot"
)
names = st.sampled_from(NAMES.split())
junk = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)


@pytest.fixture
async def service(cluster: Cluster) -> Service:
    return Service(cluster)


def test_any_parameters_of_any_method_are_answered(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        cluster = Cluster(SqliteStore(tmp_path / "solana.db"), network="dev", slot_ms=0, now_ms=system_now_ms)
        runner.run(cluster.open())
        service = Service(cluster)
        methods = st.sampled_from(sorted(service.methods.keys() - LEFT_OUT))

        @settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
        @given(methods, st.lists(junk, max_size=3))
        def answered(method: str, params: list[Any]) -> None:
            body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
            reply = orjson.loads(runner.run(service.answer(body)))
            assert reply["id"] == 1
            assert ("result" in reply) != ("error" in reply)
            assert reply.get("error", {}).get("code") != INTERNAL, reply

        @settings(max_examples=300, deadline=None)
        @given(st.sampled_from(SUBSCRIPTIONS), st.lists(junk, max_size=3))
        def subscribed(method: str, params: list[Any]) -> None:
            told: list[bytes] = []
            session = Session(service.notices, told.append)
            body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
            runner.run(session.take(body))
            session.end()
            assert orjson.loads(told[0]).get("error", {}).get("code") != INTERNAL, told

        answered()
        subscribed()
        runner.run(cluster.close())


@settings(max_examples=500)
@given(st.one_of(st.binary(max_size=200), junk.map(orjson.dumps)))
def test_any_body_is_read(body: bytes) -> None:
    asked = read_calls(body)
    assert asked.calls
    for call in asked.calls:
        assert call.fault is not None or call.method


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b'{"a": ' * 5000, -32700),
        (b"[" * 5000 + b"]" * 5000, -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"getSlot"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"getSlot"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"getSlot"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"getSlots"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"__class__"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"getSlot","params":{}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"getSlot","params":[7]}', -32602),
        (orjson.dumps([{}] * (BATCH_MOST_CALLS + 1)), -32600),
    ],
)
async def test_errors_of_json_rpc(service: Service, body: bytes, code: int) -> None:
    reply = orjson.loads(await service.answer(body))
    assert reply["error"]["code"] == code
    assert reply["jsonrpc"] == "2.0"


@pytest.mark.parametrize("number", [1, "seven", None, 0, 2**53])
async def test_ids_come_back_as_they_were(service: Service, number: Any) -> None:
    body = orjson.dumps({"jsonrpc": "2.0", "id": number, "method": "getHealth"})
    assert orjson.loads(await service.answer(body)) == {"jsonrpc": "2.0", "result": "ok", "id": number}


async def test_a_batch_answers_each_call_and_no_notification(service: Service) -> None:
    calls = [{"jsonrpc": "2.0", "id": number, "method": "getHealth"} for number in range(40)]
    notification = {"jsonrpc": "2.0", "method": "getHealth"}
    replies = orjson.loads(await service.answer(orjson.dumps([*calls, notification, {"id": 41}])))
    assert [each.get("result") for each in replies] == ["ok"] * 40 + [None]
    assert [each["id"] for each in replies] == [*range(40), 41]
    assert await service.answer(orjson.dumps([notification])) == b""
    assert await service.answer(orjson.dumps(notification)) == b""


async def test_a_cluster_that_is_closed_says_so(tmp_path: Path) -> None:
    cluster = Cluster(SqliteStore(tmp_path / "solana.db"), network="dev", slot_ms=0, now_ms=system_now_ms)
    reply = orjson.loads(await Service(cluster).answer(b'{"jsonrpc":"2.0","id":1,"method":"getSlot"}'))
    assert reply["error"]["code"] == -32005


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_http(solana: SolanaServer, client: aiohttp.ClientSession) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"getHealth"}'
    for url in (solana.rpc_url, solana.ws_url.replace("ws", "http", 1)):
        async with client.post(url, data=body) as reply:
            assert reply.status == 200
            assert reply.headers["Access-Control-Allow-Origin"] == "*"
            assert reply.content_type == "application/json"
            assert (await reply.json())["result"] == "ok"
    async with client.options(solana.rpc_url) as reply:
        assert reply.status == 200
        assert reply.headers["Access-Control-Allow-Headers"] == "*"
    async with client.get(f"{solana.rpc_url}/health") as reply:
        assert await reply.text() == "ok"
    async with client.get(solana.rpc_url) as reply:
        assert reply.status == 405


async def test_a_body_beyond_the_limit(solana: SolanaServer, client: aiohttp.ClientSession) -> None:
    async with client.post(solana.rpc_url, data=b" " * (BODY_MOST_BYTES + 1)) as reply:
        assert reply.status == 413
        assert (await reply.json())["error"]["code"] == -32600


async def test_a_lost_answer_breaks_the_connection(
    cluster: Cluster, solana: SolanaServer, client: aiohttp.ClientSession
) -> None:
    cluster.faults.set(lose_next=1)
    somebody = Keypair()
    await cluster.airdrop(somebody.pubkey(), 10_000_000)
    paid = _payment(cluster, somebody)
    body = {"jsonrpc": "2.0", "id": 1, "method": "sendTransaction", "params": [paid, {"skipPreflight": True}]}
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.post(solana.rpc_url, json=body)
    assert cluster.faults.counts.lost == 1
    assert cluster.transaction_count == 2


def _payment(cluster: Cluster, payer: Keypair) -> str:
    """Signed, base58."""
    pay = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=payer.pubkey(), lamports=1))
    blockhash = cluster.latest_blockhash("processed").value
    return base58.b58encode(
        bytes(Transaction.new_signed_with_payer([pay], payer.pubkey(), [payer], blockhash))
    ).decode()


@pytest.mark.parametrize(
    ("message", "code"),
    [(b"junk", -32700), (b"[]", -32600), (b'{"jsonrpc":"2.0","id":1,"method":"accountSubscribe"}', -32602)],
)
async def test_junk_over_websocket(
    solana: SolanaServer, client: aiohttp.ClientSession, message: bytes, code: int
) -> None:
    async with client.ws_connect(solana.ws_url) as socket:
        await socket.send_bytes(message)
        assert orjson.loads((await socket.receive(timeout=5)).data)["error"]["code"] == code


async def test_a_message_beyond_the_limit_ends_the_connection(
    solana: SolanaServer, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(solana.ws_url) as socket:
        await socket.send_bytes(b" " * (MESSAGE_MOST_BYTES + 1))
        closed = await socket.receive(timeout=5)
        assert closed.type is aiohttp.WSMsgType.CLOSE
        assert closed.data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_a_notice_that_fails_does_not_stop_the_cluster(cluster: Cluster, service: Service) -> None:
    service.start()

    def refuse(message: bytes) -> None:
        raise OSError("gone")

    session = Session(service.notices, refuse)
    with pytest.raises(OSError, match="gone"):
        await session.take(b'{"jsonrpc":"2.0","id":1,"method":"slotSubscribe"}')
    slot = cluster.slot("processed")
    assert await cluster.advance() > slot
    service.stop()
