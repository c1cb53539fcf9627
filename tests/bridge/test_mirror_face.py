"""What a whole mirror shows over HTTP, while tokens become certificates and certificates tokens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import orjson
import pytest
from solders.keypair import Keypair
from solders.signature import Signature

from api.lifecycle import Lifecycle, Phase
from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.receipts.audited_bsv import Trusting
from bridge.mirror.receipts.auditing import audited
from bridge.mirror.receipts.findings import Outcome
from bridge.mirror.states import State
from store.sqlite import SqliteStore
from tests.api.mirror_face import ADMIN, Answer, Stream, listening_for
from tests.bridge.mirror_kit import UNITS_A_WH, MirrorNode, memo_to
from tests.energytag.kit import ACCOUNT
from tests.overlay.kit import Chain, Clock

WAY_IN = ["OBSERVED", "SRC_FINAL", "VALIDATED", "ACCOUNTED", "DST_SIGNED", "DST_SENT"]


@dataclass
class Shown:
    """A whole mirror, and a client of its routes."""

    node: MirrorNode
    client: aiohttp.ClientSession
    url: str

    async def ask(self, path: str, method: str = "GET", **more: Any) -> Answer:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        async with self.client.request(method, self.url + path, headers=headers, **more) as reply:
            return Answer(reply.status, reply.headers, await reply.read())

    async def get(self, path: str) -> Any:
        answer = await self.ask(path)
        assert answer.status == 200, answer.body
        return answer.json()

    async def ordered(self, path: str, **body: Any) -> Any:
        """An order, carried out by a round of the worker's."""
        asked = asyncio.create_task(self.ask(path, "POST", json={"by": "Ada", "reason": "a drill", **body}))
        async with asyncio.timeout(10):
            while not asked.done():
                await self.node.parts.operating.round()
                await asyncio.sleep(0.01)
        answer = asked.result()
        assert answer.status == 200, answer.body
        return answer.json()


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def shown(tmp_path: Path, cluster: Cluster, solana: SolanaServer) -> AsyncIterator[Shown]:
    async with contextlib.AsyncExitStack() as stack:
        clock = Clock()
        chain = Chain(tmp_path, clock)
        await chain.open()
        stack.push_async_callback(chain.close)
        made = MirrorNode(chain, cluster, solana.rpc_url, SqliteStore(tmp_path / "node.db", cache_mib=4), clock)
        await made.open()
        stack.push_async_callback(made.close)
        node = SimpleNamespace(
            settings=made.settings,
            store=made.store,
            mirror=made.mirror,
            registry=made.registry.registry,
            admin_token=ADMIN,
        )
        lifecycle = Lifecycle(Phase.READY)
        listener = await listening_for(stack, node, lifecycle, clock, order_secs=5)
        client = await stack.enter_async_context(aiohttp.ClientSession())
        yield Shown(made, client, f"http://127.0.0.1:{listener.getsockname()[1]}")
        lifecycle.phase = Phase.STOPPING


async def legs(stream: Stream, last: str) -> list[str]:
    """The states of legs that are told, up to this one."""
    states: list[str] = []
    while not states or states[-1] != last:
        event = await stream.next()
        states.append(event.data["to"])
    return states


async def test_a_deposit_and_an_exit_as_everybody_sees_them(shown: Shown) -> None:
    node, holder, wallet = shown.node, Keypair(), Keypair().pubkey()
    await node.mint_readings(holder, [1_000, 2_000])
    told = await shown.get(f"/api/bridge/deposit?account_id={ACCOUNT}")
    assert told["memo"] == memo_to()
    assert told["custody_account"] == str(node.parts.ground.asset.custody)
    async with shown.client.get(f"{shown.url}/bridge/events") as reply:
        stream = Stream(reply)
        signature = await node.deposit(holder, 1_500 * UNITS_A_WH, told["memo"])
        await node.until(State.RECEIPTED)
        assert (await legs(stream, "RECEIPTED"))[: len(WAY_IN)] == WAY_IN
        await node.lock(600, str(wallet))
        await node.until(State.RECEIPTED)
        assert (await legs(stream, "RECEIPTED"))[0] == "OBSERVED"

    (entering,) = (await shown.get(f"/api/bridge/search?signature={signature}"))["messages"]
    (leaving,) = (await shown.get("/api/bridge/messages?direction=out"))["messages"]
    assert (entering["kind"], entering["wh"], entering["state"]) == ("deposit", 1_500, "RECEIPTED")
    assert (leaving["kind"], leaving["wh"], leaving["recipient"]) == ("exit", 600, str(wallet))
    await found_from_all_sides(shown, entering, leaving)
    for message in (entering, leaving):
        await audited_as_handed_out(shown, message)
    parity = await shown.get("/api/bridge/parity")
    assert parity["is_exact"], parity
    assert (parity["wh"]["custody"], parity["wh"]["live"]) == (900, 900)
    page = (await shown.ask("/bridge")).body.decode()
    assert "parity exact" in page
    assert entering["message_id"] in page


async def found_from_all_sides(shown: Shown, entering: Any, leaving: Any) -> None:
    """By what each came of and became, in transactions and outputs."""
    certificates = entering["certificates"]
    assert sum(each["wh"] for each in certificates) == 1_500
    wanted = {
        f"txid={entering['destination']['transaction']}": entering,
        f"outpoint={certificates[0]['outpoint']}": entering,
        f"txid={leaving['source']['transaction']}": leaving,
        f"outpoint={leaving['source']['event']}": leaving,
        f"signature={leaving['destination']['transaction']}": leaving,
        f"txid={leaving['withdrawal']}": leaving,
    }
    for query, message in wanted.items():
        told = await shown.get(f"/api/bridge/search?{query}")
        assert [each["message_id"] for each in told["messages"]] == [message["message_id"]], query


async def audited_as_handed_out(shown: Shown, message: Any) -> None:
    answer = await shown.ask(message["receipt"])
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    failed = [check for check in audited(answer.body, Trusting()).checks if check.outcome is Outcome.FAILED]
    assert not failed
    assert orjson.loads(answer.body)["message"]["id"] == message["message_id"]


async def test_a_deposit_without_a_recipient_is_held_and_given_back(shown: Shown) -> None:
    node, holder = shown.node, Keypair()
    await node.mint_readings(holder, [1_000])
    await node.deposit(holder, 700 * UNITS_A_WH, None)
    await node.until(State.HELD)
    (message,) = (await shown.get("/api/bridge/messages?state=HELD"))["messages"]
    assert message["reason"]["code"] == "memo_missing"
    path = f"/api/admin/bridge/messages/{message['message_id']}"
    assert (await shown.ordered(f"{path}/refund"))["message_state"] == "REFUND_ACCOUNTED"
    await node.until(State.REFUNDED)
    assert await node.wallet_balance(holder.pubkey()) == 1_000 * UNITS_A_WH
    told = await shown.get(f"/api/bridge/messages/{message['message_id']}")
    assert (told["state"], told["destination"]["chain"]) == ("REFUNDED", "solana")
    assert (await shown.get("/api/bridge/parity"))["is_exact"]


async def test_a_pause_is_kept_to_and_ended(shown: Shown) -> None:
    node, holder = shown.node, Keypair()
    await node.mint_readings(holder, [1_000])
    await shown.ordered("/api/admin/bridge/pause", direction="in")
    assert (await shown.get("/api/bridge/quote?direction=in&wh=1"))["is_paused"]
    await node.deposit(holder, 700 * UNITS_A_WH, memo_to())
    for _ in range(3):
        await node.round()
    (message,) = (await shown.get("/api/bridge/messages"))["messages"]
    assert message["state"] == "VALIDATED"
    await shown.ordered("/api/admin/bridge/resume", direction="in")
    await node.until(State.RECEIPTED)


async def test_a_transaction_that_is_no_deposit_is_told_so(shown: Shown) -> None:
    node, holder = shown.node, Keypair()
    await node.mint_readings(holder, [1_000])
    await node.round()
    newest = (await node.rpc.signatures_for(node.parts.ground.asset.mint))[0].signature
    answer = await shown.ask(f"/api/bridge/search?signature={newest}")
    assert answer.status == 404
    assert "nothing of the asset into custody" in answer.json()["message"]
    answer = await shown.ask(f"/api/bridge/search?signature={Signature.default()}")
    assert "no such transaction" in answer.json()["message"]
