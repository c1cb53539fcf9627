"""The client before the embedded cluster, and before servers that fail in every way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.solana.client import ACCOUNTS_PER_CALL, STATUSES_PER_CALL, ClusterClient
from bridge.solana.rpc import SendRefused
from config.errors import ErrorCode, Unavailable
from tests.bridge.cluster_kit import SOL, Bench, TokenBench, keypair, memo, pay, signed

ALICE = keypair("alice").pubkey()


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def client(solana: SolanaServer) -> AsyncIterator[ClusterClient]:
    client = ClusterClient(solana.rpc_url, 5)
    yield client
    await client.close()


@pytest.fixture
async def bench(cluster: Cluster) -> Bench:
    bench = Bench(cluster)
    await bench.fund()
    return bench


# What a cluster answers


async def test_slots_hashes_and_rent(cluster: Cluster, client: ClusterClient) -> None:
    await cluster.advance(40)

    assert await client.genesis_hash() == cluster.genesis_hash
    assert await client.slot() == cluster.slot("finalized")
    assert await client.slot("processed") == cluster.slot("processed")
    assert await client.block_height("confirmed") == cluster.block_height("confirmed")
    assert await client.first_available_slot() == cluster.first_available
    assert await client.latest_blockhash() == cluster.latest_blockhash("confirmed")
    assert await client.rent_lamports(0) == 890_880


async def test_a_transaction_from_sending_to_history(cluster: Cluster, client: ClusterClient) -> None:
    payer, others = Keypair(), [Keypair().pubkey() for _ in range(3)]
    await client.airdrop(payer.pubkey(), 5 * SOL)
    await cluster.advance()
    assert await client.balance(payer.pubkey()) == 5 * SOL
    blockhash = (await client.latest_blockhash()).value
    sent = [await client.send(signed([pay(payer, each, SOL), memo("paid")], [payer], blockhash)) for each in others]
    (status,) = await client.statuses(sent[:1])
    assert status is not None
    assert (status.commitment, status.error) == ("processed", None)
    assert await client.transaction(sent[0]) is None
    await cluster.advance(40)

    seen = await client.transaction(sent[0])

    assert seen is not None
    assert (seen.signature, seen.error, seen.fee) == (sent[0], None, 5000)
    assert "Program log: paid" in (seen.logs or ())
    history = await client.signatures_for(payer.pubkey(), limit=2)
    assert [entry.signature for entry in history] == sent[:0:-1]
    older = await client.signatures_for(payer.pubkey(), before=sent[1], until=None)
    assert older[0].signature == sent[0]
    assert await client.signatures_for(payer.pubkey(), until=sent[2]) == []
    found = await client.accounts([others[0], Pubkey.new_unique()])
    assert found[0] is not None
    assert (found[0].lamports, found[0].data, found[1]) == (SOL, b"", None)


async def test_token_balances(cluster: Cluster, client: ClusterClient, bench: Bench) -> None:
    token = await TokenBench.made(bench)
    executed = await bench.must([token.create(ALICE), token.mint_to(ALICE, 12)])
    await cluster.advance(40)

    seen = await client.transaction(executed.signature)

    assert seen is not None
    (balance,) = seen.post_tokens
    assert (balance.account, balance.mint, balance.owner) == (token.address(ALICE), token.mint.pubkey(), ALICE)
    assert (balance.program, balance.units, seen.pre_tokens) == (token.program, 12, ())
    assert seen.inner[0], "the account's making calls other programs"


async def test_many_are_asked_in_pages(client: ClusterClient) -> None:
    unknown = [Signature.new_unique() for _ in range(2 * STATUSES_PER_CALL + 1)]
    assert await client.statuses(unknown) == [None] * len(unknown)
    nobody = [Pubkey.new_unique() for _ in range(2 * ACCOUNTS_PER_CALL + 1)]
    assert await client.accounts(nobody) == [None] * len(nobody)
    assert await client.statuses([]) == []


async def test_a_refusal_has_the_clusters_error_and_logs(client: ClusterClient, bench: Bench) -> None:
    await bench.cluster.advance(2)
    blockhash = (await client.latest_blockhash()).value
    raw = signed([pay(bench.payer, ALICE, 10**15)], [bench.payer], blockhash)

    with pytest.raises(SendRefused) as failure:
        await client.send(raw)

    assert failure.value.error == {"InstructionError": [0, {"Custom": 1}]}
    assert any("insufficient lamports" in line for line in failure.value.logs)
    assert failure.value.code is ErrorCode.SOLANA_UNAVAILABLE


async def test_what_cannot_be_a_transaction_is_refused(client: ClusterClient, bench: Bench) -> None:
    raw = bytearray(bench.build([pay(bench.payer, ALICE, SOL)]))
    raw[1] ^= 1
    for broken in (bytes(raw), bytes(2000), b""):
        with pytest.raises(SendRefused):
            await client.send(broken, skip_preflight=True)


# What goes wrong


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Reply = Callable[[dict[str, Any]], web.Response]


@asynccontextmanager
async def serving(handler: Handler, timeout_secs: float = 5, keep_secs: float = 75) -> AsyncIterator[ClusterClient]:
    """A client of a server that handles every request so."""
    app = web.Application()
    app.router.add_post("/secret-key", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True, keepalive_timeout=keep_secs)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = ClusterClient(f"http://127.0.0.1:{runner.addresses[0][1]}/secret-key", timeout_secs)
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


@asynccontextmanager
async def answering(reply: Reply) -> AsyncIterator[ClusterClient]:
    """A client of a server that answers each call so."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return reply(await request.json())

    async with serving(handle) as client:
        yield client


def result(value: Any) -> Reply:
    def reply(call: dict[str, Any]) -> web.Response:
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": value})

    return reply


def error(code: int, message: str, data: Any = None) -> Reply:
    def reply(call: dict[str, Any]) -> web.Response:
        body = {"code": code, "message": message} | ({} if data is None else {"data": data})
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "error": body})

    return reply


def raw(body: str, status: int = 200) -> Reply:
    def reply(_: dict[str, Any]) -> web.Response:
        return web.Response(text=body, status=status, content_type="application/json")

    return reply


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (raw("busy", 429), "does not answer getSlot: HTTP 429"),
        (raw("", 502), "does not answer getSlot: HTTP 502"),
        (raw("<html>"), "something else than JSON-RPC"),
        (raw("[]"), "something else than JSON-RPC"),
        (raw('{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}'), "something else"),
        (raw('{"jsonrpc":"2.0","id":77,"result":12}'), "something else"),
        (raw('{"jsonrpc":"2.0","id":1}'), "something else"),
        (raw('{"jsonrpc":"2.0","id":1,"error":"no"}'), "something else"),
        (raw("", 307), "does not answer getSlot: HTTP 307"),
        (error(-32005, "Node is behind by 42 slots"), "error -32005: Node is behind by 42 slots"),
        (result(None), "cannot be read"),
        (result("12"), "cannot be read"),
    ],
)
async def test_every_failure_is_unavailable_with_a_reason(reply: Reply, reason: str) -> None:
    async with answering(reply) as client:
        with pytest.raises(Unavailable, match=reason) as failure:
            await client.slot()
    assert failure.value.code is ErrorCode.SOLANA_UNAVAILABLE
    assert "secret-key" not in failure.value.message


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/secret-key", "http://[secret-key", "secret-key"])
async def test_nobody_listens(url: str) -> None:
    client = ClusterClient(url)
    with pytest.raises(Unavailable, match="does not answer getSlot") as failure:
        await client.slot()
    await client.close()
    assert "secret-key" not in failure.value.message


@pytest.mark.parametrize("pause_secs", [0, 0.1])
async def test_a_connection_that_was_closed_while_idle_loses_no_call(pause_secs: float) -> None:
    """A server that keeps connections for less than the client does, and one that keeps none."""
    calls = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        reply = result(calls)(await request.json())
        if not pause_secs:
            reply.force_close()
        return reply

    async with serving(handle, keep_secs=0.02) as client:
        for number in range(1, 4):
            assert await client.slot() == number
            await asyncio.sleep(pause_secs)
    assert calls == 3


async def test_a_call_whose_answer_breaks_off_is_not_posted_again() -> None:
    calls = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        if calls == 1:
            return result(1)(await request.json())
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with serving(handle) as client:
        assert await client.slot() == 1
        with pytest.raises(Unavailable, match="does not answer getSlot"):
            await client.slot()
    assert calls == 2


async def test_many_calls_at_once_share_some_connections() -> None:
    connections = set()

    async def handle(request: web.Request) -> web.StreamResponse:
        connections.add(request.transport)
        await asyncio.sleep(0.01)
        return result(7)(await request.json())

    async with serving(handle) as client:
        assert await asyncio.gather(*(client.slot() for _ in range(200))) == [7] * 200
    assert 1 < len(connections) <= 32


async def dripping(request: web.Request) -> web.StreamResponse:
    """A byte now and then: no single wait is long."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


async def silent(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


@pytest.mark.parametrize("handler", [dripping, silent])
async def test_a_call_ends_in_time_and_is_posted_once(handler: Handler) -> None:
    calls = 0

    async def counted(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        return await handler(request)

    started = time.monotonic()
    async with serving(counted, timeout_secs=0.3) as client:
        with pytest.raises(Unavailable, match="it takes too long"):
            await client.slot()
        assert time.monotonic() - started < 2
    assert calls == 1


async def test_troubles_of_the_node_are_no_refusals() -> None:
    async with answering(error(-32005, "Node is unhealthy")) as client:
        with pytest.raises(Unavailable, match="unhealthy"):
            await client.send(b"transaction")


async def test_a_refusal_without_data_names_the_clusters_words() -> None:
    async with answering(error(-32003, "Transaction signature verification failure")) as client:
        with pytest.raises(SendRefused) as failure:
            await client.send(b"transaction")
    assert failure.value.error == "Transaction signature verification failure"
    assert failure.value.logs == ()


async def test_fewer_answers_than_questions_are_none() -> None:
    async with answering(result({"value": [None]})) as client:
        with pytest.raises(Unavailable, match="1 answers to 2 questions"):
            await client.statuses([Signature.new_unique()] * 2)
        with pytest.raises(Unavailable, match="1 answers to 3 questions"):
            await client.accounts([Pubkey.new_unique()] * 3)


async def test_what_is_final_is_asked_for_once(cluster: Cluster, solana: SolanaServer, bench: Bench) -> None:
    executed = await bench.must([memo("this one")])
    other = await bench.must([memo("another one")])
    await cluster.advance(2)
    client = ClusterClient(solana.rpc_url, 5)
    confirmed = await client.transaction(executed.signature, "confirmed")
    assert await client.transaction(executed.signature) is None
    await cluster.advance(40)
    final = await client.transaction(executed.signature)
    await solana.stop()
    assert await client.transaction(executed.signature) is final
    assert final == confirmed
    with pytest.raises(Unavailable):
        await client.transaction(executed.signature, "confirmed")
    with pytest.raises(Unavailable):
        await client.transaction(other.signature)
    await client.close()


async def test_another_transaction_than_asked_for_is_none(
    cluster: Cluster, solana: SolanaServer, bench: Bench
) -> None:
    """Behind a load balancer, or by a liar."""
    executed = await bench.must([memo("this one")])
    await cluster.advance(40)
    config = {"encoding": "base64", "maxSupportedTransactionVersion": 0}
    call = {"jsonrpc": "2.0", "id": 1, "method": "getTransaction", "params": [str(executed.signature), config]}
    async with aiohttp.ClientSession() as session, session.post(solana.rpc_url, json=call) as reply:
        given = (await reply.json())["result"]
    async with answering(result(given)) as other:
        assert await other.transaction(executed.signature) is not None
        with pytest.raises(Unavailable, match="asked was"):
            await other.transaction(Signature.new_unique())
