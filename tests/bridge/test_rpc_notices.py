"""Subscriptions over a real WebSocket, on a cluster whose slots open only when they are told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.cluster.rpc.limits import SUBSCRIPTIONS_MOST, WAITING_MOST_NOTICES
from tests.bridge.rpc_kit import Hearer
from tests.bridge.tokens import SPL_TOKEN

LAMPORTS = 1_000_000
SYSTEM = "11111111111111111111111111111111"
TO_FINALITY = 31


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def hearer(solana: SolanaServer) -> AsyncIterator[Hearer]:
    async with aiohttp.ClientSession() as client, client.ws_connect(solana.ws_url) as socket:
        yield Hearer(socket)


@pytest.fixture
def somebody() -> Pubkey:
    return Keypair().pubkey()


@pytest.mark.parametrize(
    ("commitment", "slots"), [("processed", 0), ("confirmed", 1), ("finalized", TO_FINALITY), (None, TO_FINALITY)]
)
@pytest.mark.parametrize("kind", ["logs", "account", "program", "signature"])
async def test_a_notice_comes_once_its_commitment_is_reached_and_not_before(
    cluster: Cluster, hearer: Hearer, somebody: Pubkey, kind: str, commitment: str | None, slots: int
) -> None:
    config = {"commitment": commitment}
    if kind != "signature":
        number = await hearer.subscribe(f"{kind}Subscribe", _about(kind, somebody), config)
    slot = cluster.slot("processed")
    sent = await cluster.airdrop(somebody, LAMPORTS)
    if kind == "signature":
        number = await hearer.subscribe("signatureSubscribe", str(sent), config)
    if slots:
        await cluster.advance(slots - 1)
        await hearer.silent()
        await cluster.advance()
    told = await _heard_of(hearer, somebody, kind)
    assert told["subscription"] == number
    assert told["result"]["context"]["slot"] == slot
    account = cluster.account(somebody, commitment or "finalized")  # type: ignore[arg-type]
    assert account is not None, "who is told can also ask"


def _about(kind: str, address: Pubkey) -> Any:
    return {"logs": {"mentions": [str(address)]}, "account": str(address), "program": SYSTEM}[kind]


async def _heard_of(hearer: Hearer, address: Pubkey, kind: str) -> dict[str, Any]:
    """The next notice; of a program's accounts, that of the address (the faucet's own changed as well)."""
    while True:
        told = await hearer.hear()
        if kind != "program" or told["result"]["value"]["pubkey"] == str(address):
            return told


async def test_what_notices_hold(cluster: Cluster, hearer: Hearer, somebody: Pubkey) -> None:
    config = {"commitment": "processed", "encoding": "base64"}
    await hearer.subscribe("logsSubscribe", {"mentions": [str(somebody)]}, config)
    await hearer.subscribe("accountSubscribe", str(somebody), config)
    sent = await cluster.airdrop(somebody, LAMPORTS)
    logs, account = (await hearer.hear())["result"]["value"], (await hearer.hear())["result"]["value"]
    assert logs["signature"] == str(sent)
    assert logs["err"] is None
    assert f"Program {SYSTEM} invoke [1]" in logs["logs"]
    assert account["lamports"] == LAMPORTS
    assert account["data"] == ["", "base64"]


async def test_a_signature_is_told_once_and_its_subscription_ends(
    cluster: Cluster, hearer: Hearer, somebody: Pubkey
) -> None:
    sent = await cluster.airdrop(somebody, LAMPORTS)
    number = await hearer.subscribe("signatureSubscribe", str(sent), {"commitment": "processed"})
    assert (await hearer.hear())["result"]["value"] == {"err": None}
    await cluster.advance(2)
    await hearer.silent()
    assert (await hearer.call("signatureUnsubscribe", number))["error"]["code"] == -32602


async def test_a_signature_that_is_long_final_is_told_at_once(
    cluster: Cluster, hearer: Hearer, somebody: Pubkey
) -> None:
    sent = await cluster.airdrop(somebody, LAMPORTS)
    await cluster.advance(TO_FINALITY)
    await hearer.subscribe("signatureSubscribe", str(sent))
    assert (await hearer.hear())["result"]["value"] == {"err": None}


async def test_a_transaction_that_is_awaited_is_told_as_received(
    cluster: Cluster, hearer: Hearer, somebody: Pubkey
) -> None:
    paid = await _payment(cluster, somebody, LAMPORTS)
    config = {"commitment": "confirmed", "enableReceivedNotification": True}
    await hearer.subscribe("signatureSubscribe", str(paid.signatures[0]), config)
    await cluster.send(bytes(paid), skip_preflight=True)
    assert (await hearer.hear())["result"]["value"] == "receivedSignature"
    await cluster.advance()
    assert (await hearer.hear())["result"]["value"] == {"err": None}


async def test_slots_and_roots(cluster: Cluster, hearer: Hearer) -> None:
    slots, roots = await hearer.subscribe("slotSubscribe"), await hearer.subscribe("rootSubscribe")
    first, root = cluster.slot("processed"), cluster.slot("finalized")
    await cluster.advance(TO_FINALITY + 2)
    final = list(range(root + 1, cluster.slot("finalized") + 1))
    told = [await hearer.hear() for _ in range(TO_FINALITY + 2 + len(final))]
    opened = [each["result"] for each in told if each["subscription"] == slots]
    assert [each["slot"] for each in opened] == list(range(first + 1, first + TO_FINALITY + 3))
    assert all(each["parent"] == each["slot"] - 1 and each["root"] <= each["parent"] for each in opened)
    assert [each["result"] for each in told if each["subscription"] == roots] == final


async def test_what_a_fork_undid_is_not_told_as_confirmed(
    cluster: Cluster, hearer: Hearer, somebody: Pubkey
) -> None:
    await hearer.subscribe("logsSubscribe", {"mentions": [str(somebody)]}, {"commitment": "confirmed"})
    both = [await _payment(cluster, somebody, LAMPORTS + number) for number in range(2)]
    lost, kept = [await cluster.send(bytes(each), skip_preflight=True) for each in both]
    forked = await cluster.fork(1, [lost])
    assert forked.replayed == (kept,)
    await cluster.advance(2)
    assert (await hearer.hear())["result"]["value"]["signature"] == str(kept)
    await hearer.silent()


async def _payment(cluster: Cluster, to: Pubkey, lamports: int) -> Transaction:
    """Signed, not sent; its payer is made rich, and its blockhash stands below a fork of one block."""
    payer = Keypair()
    await cluster.airdrop(payer.pubkey(), 10 * LAMPORTS)
    await cluster.advance(2)
    pay = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=to, lamports=lamports))
    return Transaction.new_signed_with_payer(
        [pay], payer.pubkey(), [payer], cluster.latest_blockhash("confirmed").value
    )


async def test_all_logs_and_logs_of_others(cluster: Cluster, hearer: Hearer, somebody: Pubkey) -> None:
    await hearer.subscribe("logsSubscribe", {"mentions": [str(SPL_TOKEN)]}, {"commitment": "processed"})
    everything = await hearer.subscribe("logsSubscribe", "all", {"commitment": "processed"})
    await cluster.airdrop(somebody, LAMPORTS)
    assert (await hearer.hear())["subscription"] == everything
    await hearer.silent()


async def test_an_account_is_told_once_a_block_however_often_it_changed(
    cluster: Cluster, hearer: Hearer, somebody: Pubkey
) -> None:
    await hearer.subscribe("accountSubscribe", str(somebody), {"commitment": "confirmed", "encoding": "base64"})
    for number in range(3):
        await cluster.airdrop(somebody, LAMPORTS + number)
    await cluster.advance()
    assert (await hearer.hear())["result"]["value"]["lamports"] == 3 * LAMPORTS + 3
    await hearer.silent()


async def test_who_unsubscribed_hears_no_more(cluster: Cluster, hearer: Hearer, somebody: Pubkey) -> None:
    number = await hearer.subscribe("accountSubscribe", str(somebody), {"commitment": "processed"})
    assert (await hearer.call("accountUnsubscribe", number))["result"] is True
    await cluster.airdrop(somebody, LAMPORTS)
    await hearer.silent()
    assert (await hearer.call("accountUnsubscribe", number))["error"]["code"] == -32602


async def test_connections_do_not_hear_of_each_others(
    cluster: Cluster, solana: SolanaServer, hearer: Hearer, somebody: Pubkey
) -> None:
    mine = await hearer.subscribe("accountSubscribe", str(somebody), {"commitment": "processed"})
    async with aiohttp.ClientSession() as client, client.ws_connect(solana.rpc_url) as socket:
        other = Hearer(socket)
        assert "error" in await other.call("accountUnsubscribe", mine)
        await cluster.airdrop(somebody, LAMPORTS)
        await other.silent()
    assert (await hearer.hear())["subscription"] == mine


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("accountSubscribe", []),
        ("accountSubscribe", ["nobody"]),
        ("logsSubscribe", [{"mentions": []}]),
        ("logsSubscribe", [{"mentions": [SYSTEM, SYSTEM]}]),
        ("logsSubscribe", ["some"]),
        ("programSubscribe", [SYSTEM, {"filters": [{}]}]),
        ("signatureSubscribe", [SYSTEM]),
        ("slotUnsubscribe", [-1]),
    ],
)
async def test_subscriptions_that_cannot_be_meant(hearer: Hearer, method: str, params: list[Any]) -> None:
    assert (await hearer.call(method, *params))["error"]["code"] == -32602


async def test_what_is_not_served_over_websocket(hearer: Hearer) -> None:
    for method in ("blockSubscribe", "voteSubscribe", "getSlot"):
        assert (await hearer.call(method))["error"]["code"] == -32601


async def test_a_connection_has_only_so_many_subscriptions(hearer: Hearer) -> None:
    for _ in range(SUBSCRIPTIONS_MOST):
        await hearer.subscribe("slotSubscribe")
    assert (await hearer.call("slotSubscribe"))["error"]["code"] == -32602


async def test_subscriptions_end_with_their_connection(
    cluster: Cluster, solana: SolanaServer, somebody: Pubkey
) -> None:
    async with aiohttp.ClientSession() as client, client.ws_connect(solana.ws_url) as socket:
        await Hearer(socket).subscribe("accountSubscribe", str(somebody), {"commitment": "processed"})
    async with asyncio.timeout(5):
        while solana.service.notices.connections:
            await asyncio.sleep(0.01)
    await cluster.airdrop(somebody, LAMPORTS)


async def test_who_does_not_read_is_cut_off(cluster: Cluster, solana: SolanaServer, somebody: Pubkey) -> None:
    """The others go on: nobody waits for a client that is slow."""
    host, port = solana.ws_url.removeprefix("ws://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert b"101" in await reader.readline()
    for number in range(40):
        writer.write(_masked(b'{"jsonrpc":"2.0","id":%d,"method":"slotSubscribe"}' % number))
    async with asyncio.timeout(5):
        while not solana.service.notices.connections:
            await asyncio.sleep(0.01)
    for _ in range(WAITING_MOST_NOTICES * 3 // 40):
        await cluster.advance()
    async with asyncio.timeout(10):
        while solana.service.notices.connections:
            await cluster.advance()
    writer.close()


def _masked(message: bytes) -> bytes:
    """A client's text frame, under the mask of zeros."""
    return bytes([0x81, 0x80 | len(message)]) + bytes(4) + message


async def test_the_end_of_the_server_ends_connections(solana: SolanaServer) -> None:
    async with aiohttp.ClientSession() as client, client.ws_connect(solana.ws_url) as socket:
        await Hearer(socket).subscribe("slotSubscribe")
        stopping = asyncio.create_task(solana.stop())
        closed = await socket.receive(timeout=5)
        assert closed.type is aiohttp.WSMsgType.CLOSE
        assert closed.data == aiohttp.WSCloseCode.GOING_AWAY
        await stopping
