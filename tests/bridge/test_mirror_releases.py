"""Releases and refunds on the embedded cluster, as they ought to go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.records import RECEIPTS
from bridge.mirror.states import Hold, State
from bridge.programs.mint import MintUnusable
from bridge.programs.tokens import associated_account, create_associated_account
from bridge.records import READINGS
from config.errors import MetawattError
from config.settings import Settings, SolanaSettings
from store.port import Insert
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import wallet
from tests.bridge.programs_kit import BOTH_PROGRAMS
from tests.bridge.releases_kit import ReleaseBench


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def bench(
    cluster: Cluster, solana: SolanaServer, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[ReleaseBench]:
    options: dict[str, Any] = getattr(request, "param", {})
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    made = await ReleaseBench.open(cluster, solana.rpc_url, store, **options)
    yield made
    await made.close()


async def test_many_releases_in_one_transaction(bench: ReleaseBench) -> None:
    messages = await bench.exits(9, wallets=1)
    destination = bench.destination()
    await bench.round(destination)
    sent = await bench.messages()
    assert {each.state for each in sent} <= {State.DST_SENT, State.DST_SEEN}
    assert all(each.attempt == 1 and each.sent_ms == bench.clock.now_ms for each in sent)
    assert all(each.due_ms is None for each in sent)
    assert len(await bench.releases()) <= 4
    await bench.until_done(destination)
    await bench.check()
    account = associated_account(wallet(0), bench.asset.mint, bench.asset.token_program)
    assert await bench.units(account) == sum(each.units for each in messages)
    final = await bench.message(messages[0])
    assert (final.state, final.due_ms, final.facts["paid_to"]) == (State.DST_FINAL, 0, str(account))
    assert destination.counts["final"] == len(await bench.releases())


@pytest.mark.parametrize("program", BOTH_PROGRAMS, ids=["spl-token", "token-2022"])
@pytest.mark.parametrize("mode", ["lock", "burn"])
async def test_a_multisig_of_two_in_three(
    cluster: Cluster, solana: SolanaServer, tmp_path: Path, program: Pubkey, mode: Any
) -> None:
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    bench = await ReleaseBench.open(cluster, solana.rpc_url, store, token_program=program, mode=mode, members=2)
    await bench.exits(5)
    await bench.until_done(bench.destination())
    await bench.check()
    assert {each.state for each in await bench.messages()} == {State.DST_FINAL}
    bench.signers.pop()
    with pytest.raises(MintUnusable, match="2 signers; 1"):
        await bench.destination().follow()
    await bench.close()


@pytest.mark.parametrize("bench", [{"mode": "burn"}], indirect=True)
async def test_the_own_mint_mints_again(bench: ReleaseBench) -> None:
    await bench.exits(4)
    await bench.until_done(bench.destination())
    await bench.check()


async def test_a_key_that_is_not_here(bench: ReleaseBench) -> None:
    bench.signers[:] = [type(bench.key)(Keypair())]
    with pytest.raises(MetawattError, match="There is no key"):
        await bench.destination().follow()


async def test_a_price_for_compute_units_is_paid_within_their_limit(bench: ReleaseBench) -> None:
    bench.settings = Settings(solana=SolanaSettings(priority_micro_lamports=1_000))
    await bench.exits(6, wallets=6)
    await bench.until_done(bench.destination())
    await bench.exits(6, wallets=6)
    await bench.until_done(bench.destination())
    await bench.check()


# Refunds


@pytest.mark.parametrize("bench", [{"mode": "lock"}, {"mode": "burn"}], indirect=True)
async def test_a_refund_goes_back_to_the_account_that_it_came_from(bench: ReleaseBench) -> None:
    asset, depositor = bench.asset, wallet(7)
    await bench.run(create_associated_account(bench.key.public, depositor, asset.mint, asset.token_program))
    source = associated_account(depositor, asset.mint, asset.token_program)
    await bench.pass_slots()
    message = await bench.deposit(source)
    destination = bench.destination()
    await bench.until_done(destination)
    refunded = await bench.message(message)
    assert (refunded.state, refunded.due_ms, refunded.facts["paid_to"]) == (State.REFUNDED, None, str(source))
    assert await bench.units(source) == message.units, "to the base unit, dust included"
    assert await bench.store.get(RECEIPTS, message.id) is not None
    await bench.check()


async def test_a_refund_of_tokens_that_came_from_no_account_goes_to_the_meters_wallet(bench: ReleaseBench) -> None:
    key = b"k" * 16
    reading = {"_id": key, "meter": "M", "wallet": str(wallet(4)), "interval_start_ms": 0, "submitted_ms": 0}
    await bench.store.commit([Insert(READINGS, reading | {"state": "minted", "attempts": 0})])
    message = await bench.deposit(None, readings=[key.hex()])
    await bench.until_done(bench.destination())
    account = associated_account(wallet(4), bench.asset.mint, bench.asset.token_program)
    assert (await bench.message(message)).state is State.REFUNDED
    assert await bench.units(account) == message.units
    await bench.check()


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_refund_whose_account_is_gone_or_not_known_is_held(bench: ReleaseBench, is_known: bool) -> None:
    source = associated_account(wallet(3), bench.asset.mint, bench.asset.token_program)
    message = await bench.deposit(source if is_known else None)
    await bench.until_done(bench.destination())
    held = await bench.message(message)
    assert held.state is State.HELD and held.reason is not None
    assert held.reason.code is Hold.DESTINATION_UNUSABLE
    await bench.check()


async def test_releases_and_refunds_do_not_share_a_transaction(bench: ReleaseBench) -> None:
    asset = bench.asset
    await bench.run(create_associated_account(bench.key.public, wallet(0), asset.mint, asset.token_program))
    await bench.pass_slots()
    await bench.exits(1, wallets=1)
    await bench.deposit(associated_account(wallet(0), asset.mint, asset.token_program))
    await bench.until_done(bench.destination())
    assert len(await bench.releases()) == 2
    await bench.check()
