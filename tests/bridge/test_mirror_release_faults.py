"""What a cluster, a recipient or a lying endpoint may do to releases: each is paid once, at the end, or held."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import ID as SYSTEM_PROGRAM_ID
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction
from spl.token.constants import TOKEN_2022_PROGRAM_ID
from spl.token.instructions import set_authority
from spl.token.models import AuthorityType, SetAuthorityParams

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.states import Hold, State
from bridge.mirror.to_solana.context import PUT_OFF_MS
from bridge.mirror.to_solana.failure import is_recipients
from bridge.mirror.to_solana.vault import vault_of
from bridge.programs.keys import FileSigner
from bridge.programs.mode import Facts
from bridge.programs.release import Crossing, Release
from bridge.programs.tokens import associated_account, create_associated_account, transfer_checked
from bridge.records import MOVEMENTS, AttemptState
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import Status
from config.errors import ErrorCode, Unavailable
from store.port import Insert
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import wallet
from tests.bridge.releases_kit import CUSTODY_UNITS, LAPSED_SLOTS, ReleaseBench

OWNER = Keypair.from_seed((1).to_bytes(32, "big"))
"""Of `wallet(0)`."""


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def bench(
    cluster: Cluster, solana: SolanaServer, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[ReleaseBench]:
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    made = await ReleaseBench.open(cluster, solana.rpc_url, store, **getattr(request, "param", {}))
    yield made
    await made.close()


class WithoutPreflight(ClusterClient):
    """A client that has everything taken onto the chain, failures too."""

    async def send(self, raw: bytes, *, skip_preflight: bool = False) -> Signature:
        return await super().send(raw, skip_preflight=True)


# The network


async def test_a_dropped_release_is_sent_again_as_it_is(bench: ReleaseBench) -> None:
    await bench.exits(2)
    bench.cluster.faults.set(drop_next=1)
    destination = bench.destination()
    await bench.round(destination)
    (before,) = await bench.releases()
    await bench.until_done(destination)
    (after,) = await bench.releases()
    assert after["raw"] == before["raw"]
    assert (after["sends"], destination.counts["resent"]) == (2, 1)
    await bench.check()


async def test_a_lost_answer_is_no_failure_of_a_release(bench: ReleaseBench) -> None:
    await bench.exits(2)
    bench.cluster.faults.set(lose_next=1)
    destination = bench.destination()
    await bench.until_done(destination)
    assert len(await bench.releases()) == 1
    assert destination.counts["unanswered"] == 1
    await bench.check()


async def test_a_release_of_a_clock_that_was_ahead_is_found_though_it_is_old(bench: ReleaseBench) -> None:
    """Who signed it died at once. By the next one's clock it is not signed yet, and no recent cache has it any
    more."""
    await bench.exits(2)
    bench.clock.now_ms += 90_000
    await bench.round(bench.destination())
    bench.clock.now_ms -= 90_000
    await bench.pass_slots(200)
    successor = bench.destination()
    for _ in range(3):
        await bench.round(successor)
        await bench.pass_slots()
    assert len(await bench.releases()) == 1
    await bench.check()


async def test_releases_that_land_late(bench: ReleaseBench) -> None:
    await bench.exits(9)
    bench.cluster.faults.set(seed=3, late_rate=1.0, late_min_slots=20, late_max_slots=140)
    await bench.until_done(bench.destination(), slots=20)
    await bench.check()


async def test_a_release_that_never_lands_expires_and_is_signed_anew(bench: ReleaseBench) -> None:
    (message,) = await bench.exits(1)
    bench.cluster.faults.set(drop_rate=1.0)
    destination = bench.destination()
    await bench.round(destination)
    for slots in (150, 31):
        await bench.pass_slots(slots)
        await bench.round(destination)
        assert len(await bench.releases()) == 1, "it may land still, as far as one can know"
    await bench.pass_slots(40)
    await destination.follow()
    assert (await bench.message(message)).state is State.DST_EXPIRED
    bench.cluster.faults.set(drop_rate=0.0)
    await bench.until_done(destination)
    assert sorted(each["state"] for each in await bench.releases()) == [AttemptState.EXPIRED, AttemptState.FINAL]
    assert (await bench.message(message)).attempt == 2
    await bench.check()


@pytest.mark.parametrize("depth", [1, 5, 12])
async def test_a_fork_takes_a_release_away(bench: ReleaseBench, depth: int) -> None:
    (message,) = await bench.exits(1)
    destination = bench.destination()
    await bench.round(destination)
    await bench.pass_slots(1)
    await destination.follow()
    assert (await bench.message(message)).state is State.DST_SEEN
    await bench.pass_slots(depth - 1)
    await bench.cluster.fork(depth + 1, True)
    await destination.follow()
    assert (await bench.message(message)).state in (State.DST_SENT, State.DST_SEEN)
    await bench.until_done(destination, slots=12)
    await bench.check()


# Lies


async def test_not_found_is_no_proof_for_a_release(bench: ReleaseBench) -> None:
    """The history is denied, and the marker speaks: what it is of cannot be told, so nothing is signed anew."""
    await bench.exits(3)
    destination = bench.destination()
    await bench.round(destination)
    bench.cluster.faults.denied.update(Signature.from_bytes(each["_id"]) for each in await bench.releases())
    await bench.pass_slots(LAPSED_SLOTS)
    for _ in range(3):
        await bench.round(destination)
    assert all(each.attempt == 1 for each in await bench.messages())
    bench.cluster.faults.clear()
    await bench.until_done(destination)
    await bench.check()


class Denying(ClusterClient):
    """An endpoint that knows of nothing that happened: no status, no transaction, no account."""

    async def statuses(self, signatures: Sequence[Signature], *, history: bool = True) -> list[Status | None]:
        return [None for _ in signatures]

    async def transaction(self, signature: Signature, commitment: Any = "finalized") -> None:
        return None

    async def accounts(self, addresses: Sequence[Pubkey], commitment: Any = "finalized") -> list[Any]:
        return [None for _ in addresses]


async def test_a_witness_keeps_a_release_that_the_endpoint_denies(
    bench: ReleaseBench, solana: SolanaServer
) -> None:
    lying = Denying(solana.rpc_url)
    await bench.exits(3)
    destination = bench.destination(rpc=lying, witnesses=[bench.rpc])
    await bench.round(destination)
    await bench.pass_slots(LAPSED_SLOTS)
    await bench.round(destination)
    assert {each.state for each in await bench.messages()} == {State.DST_SENT}
    await bench.until_done(bench.destination())
    await bench.check()
    await lying.close()


async def test_what_a_witness_does_not_know_is_not_final(bench: ReleaseBench, solana: SolanaServer) -> None:
    denying = Denying(solana.rpc_url)
    await bench.exits(1)
    destination = bench.destination(witnesses=[denying])
    for _ in range(3):
        await bench.round(destination)
        await bench.pass_slots()
    assert [each.state for each in await bench.messages()] == [State.DST_SEEN]
    await bench.until_done(bench.destination(witnesses=[bench.rpc]))
    await bench.check()
    await denying.close()


class Contradicting(ClusterClient):
    """An endpoint that says of everything that it failed."""

    async def statuses(self, signatures: Sequence[Signature], *, history: bool = True) -> list[Status | None]:
        told = await super().statuses(signatures, history=history)
        return [None if each is None else replace(each, error="failed") for each in told]


async def test_what_a_witness_contradicts_is_not_final(bench: ReleaseBench, solana: SolanaServer) -> None:
    contradicting = Contradicting(solana.rpc_url)
    await bench.exits(1)
    destination = bench.destination(witnesses=[contradicting])
    for _ in range(3):
        await bench.round(destination)
        await bench.pass_slots()
    assert [each.state for each in await bench.messages()] == [State.DST_SEEN]
    assert destination.counts["disputed"] == 1
    await bench.until_done(bench.destination(witnesses=[bench.rpc]))
    await bench.check()
    await contradicting.close()


class Silent(ClusterClient):
    """An endpoint that does not answer."""

    async def block_height(self, commitment: Any = "finalized") -> int:
        raise Unavailable("no answer", ErrorCode.SOLANA_UNAVAILABLE)


async def test_a_witness_that_does_not_answer_keeps_a_release(bench: ReleaseBench, solana: SolanaServer) -> None:
    silent = Silent(solana.rpc_url)
    await bench.exits(1)
    bench.cluster.faults.set(drop_rate=1.0)
    destination = bench.destination(witnesses=[silent])
    await bench.round(destination)
    await bench.pass_slots(LAPSED_SLOTS)
    await bench.round(destination)
    assert [each.state for each in await bench.messages()] == [State.DST_SENT]
    bench.cluster.faults.clear()
    await bench.until_done(bench.destination(witnesses=[bench.rpc]))
    await bench.check()
    await silent.close()


# Markers


async def _release(bench: ReleaseBench) -> Release:
    vault = await vault_of(bench.asset, bench.rpc, bench.signers)
    return Release(bench.asset.genesis, vault, bench.key.public)


def _crossing(bench: ReleaseBench, message: Any, units: int) -> Crossing:
    owner = Pubkey.from_string(message.recipient)
    account = associated_account(owner, bench.asset.mint, bench.asset.token_program)
    return Crossing(message.crossing_id, message.id, account, owner, units, message.source_event)


@pytest.mark.parametrize("surplus", [0, 1])
async def test_a_marker_that_is_there_is_looked_up(bench: ReleaseBench, surplus: int) -> None:
    """Paid before the database was lost: as it is asked now, or otherwise."""
    (message,) = await bench.exits(1)
    crossing = _crossing(bench, message, message.units + surplus)
    release = await _release(bench)
    facts = Facts(has_destination=False, guard_lamports=0)
    await bench.run(*release.instructions(crossing, facts), release.memo([crossing]))
    await bench.pass_slots()
    await bench.round(bench.destination())
    found = await bench.message(message)
    assert not await bench.releases()
    if surplus:
        assert found.state is State.HELD and found.reason is not None
        assert found.reason.code is Hold.MARKER_FOREIGN
    else:
        assert found.state is State.DST_FINAL
        await bench.check()


async def test_a_marker_without_a_payment_is_foreign(bench: ReleaseBench) -> None:
    (message,) = await bench.exits(1)
    crossing = _crossing(bench, message, message.units)
    release = await _release(bench)
    facts = Facts(has_destination=False, guard_lamports=0)
    await bench.run(*release.instructions(crossing, facts)[:2])
    await bench.pass_slots()
    await bench.until_done(bench.destination())
    held = await bench.message(message)
    assert held.reason is not None and held.reason.code is Hold.MARKER_FOREIGN


async def test_a_marker_whose_history_is_denied_waits(bench: ReleaseBench) -> None:
    (message,) = await bench.exits(1)
    crossing = _crossing(bench, message, message.units)
    release = await _release(bench)
    facts = Facts(has_destination=False, guard_lamports=0)
    await bench.run(*release.instructions(crossing, facts), release.memo([crossing]))
    await bench.pass_slots()
    bench.cluster.faults.set(deny_rate=1.0)
    destination = bench.destination()
    await bench.round(destination)
    waiting = await bench.message(message)
    assert (waiting.state, waiting.due_ms) == (State.ACCOUNTED, bench.clock.now_ms + PUT_OFF_MS)
    bench.cluster.faults.clear()
    bench.clock.now_ms += PUT_OFF_MS
    await bench.until_done(destination)
    await bench.check()


async def test_lamports_at_the_markers_address_hinder_nothing(bench: ReleaseBench) -> None:
    (message,) = await bench.exits(1)
    address = (await _release(bench)).guard(_crossing(bench, message, message.units))
    gift = TransferParams(from_pubkey=bench.key.public, to_pubkey=address, lamports=1_000_000)
    await bench.run(transfer(gift))
    await bench.pass_slots()
    await bench.until_done(bench.destination())
    await bench.check()


# Recipients


@pytest.mark.parametrize("bench", [{"token_program": TOKEN_2022_PROGRAM_ID}], indirect=True)
async def test_who_refuses_tokens_is_held_alone(bench: ReleaseBench, solana: SolanaServer) -> None:
    """His account asks for a memo before each transfer. Those who shared his transaction are paid."""
    asset, key = bench.asset, bench.key.public
    account = associated_account(OWNER.pubkey(), asset.mint, asset.token_program)
    demanding = [
        Instruction(
            asset.token_program,
            bytes([29]) + (8).to_bytes(2, "little"),
            [
                AccountMeta(account, is_signer=False, is_writable=True),
                AccountMeta(key, is_signer=True, is_writable=True),
                AccountMeta(SYSTEM_PROGRAM_ID, is_signer=False, is_writable=False),
                AccountMeta(OWNER.pubkey(), is_signer=True, is_writable=False),
            ],
        ),
        Instruction(
            asset.token_program,
            bytes([30, 0]),
            [
                AccountMeta(account, is_signer=False, is_writable=True),
                AccountMeta(OWNER.pubkey(), is_signer=True, is_writable=False),
            ],
        ),
    ]
    await bench.run(create_associated_account(key, OWNER.pubkey(), asset.mint, asset.token_program))
    await bench.run(*demanding, signers=[FileSigner(OWNER)])
    await bench.pass_slots()
    client = WithoutPreflight(solana.rpc_url)
    await bench.exits(6, wallets=3)
    await bench.until_done(bench.destination(rpc=client))
    by_recipient = {(each.recipient, each.state) for each in await bench.messages()}
    assert by_recipient == {
        (str(wallet(0)), State.HELD),
        (str(wallet(1)), State.DST_FINAL),
        (str(wallet(2)), State.DST_FINAL),
    }
    reasons = [each.reason for each in await bench.messages() if each.reason is not None]
    assert {each.code for each in reasons} == {Hold.DESTINATION_UNUSABLE}
    await bench.check()
    await client.close()


async def test_an_account_that_was_given_away_is_not_paid(bench: ReleaseBench) -> None:
    asset = bench.asset
    account = associated_account(OWNER.pubkey(), asset.mint, asset.token_program)
    await bench.run(create_associated_account(bench.key.public, OWNER.pubkey(), asset.mint, asset.token_program))
    given = SetAuthorityParams(
        program_id=asset.token_program,
        account=account,
        authority=AuthorityType.ACCOUNT_OWNER,
        current_authority=OWNER.pubkey(),
        new_authority=wallet(9),
    )
    await bench.run(set_authority(given), signers=[FileSigner(OWNER)])
    await bench.pass_slots()
    message, other = await bench.exits(2)
    await bench.until_done(bench.destination())
    held = await bench.message(message)
    assert held.reason is not None and held.reason.code is Hold.DESTINATION_UNUSABLE
    assert (await bench.message(other)).state is State.DST_FINAL
    await bench.check()


async def test_addresses_that_nobody_could_use(bench: ReleaseBench) -> None:
    asset = bench.asset
    await bench.run(create_associated_account(bench.key.public, wallet(1), asset.mint, asset.token_program))
    await bench.pass_slots()
    account = associated_account(wallet(1), asset.mint, asset.token_program)
    told = {
        str(asset.owner): Hold.DESTINATION_UNUSABLE,
        str(account): Hold.ADDRESS_MALFORMED,
        str(asset.mint): Hold.ADDRESS_MALFORMED,
        "no address": Hold.ADDRESS_MALFORMED,
    }
    messages = [await bench.exit_to(each) for each in told]
    await bench.until_done(bench.destination())
    held = [await bench.message(each) for each in messages]
    assert [each.reason and each.reason.code for each in held] == list(told.values())
    await bench.check()


async def test_an_account_that_was_closed_is_not_made_again(bench: ReleaseBench) -> None:
    asset = bench.asset
    account = associated_account(wallet(0), asset.mint, asset.token_program)
    movement = {"_id": b"m", "kind": "mint", "account": str(account), "slot": 1}
    await bench.store.commit([Insert(MOVEMENTS, movement)])
    await bench.pass_slots(200)
    message, other = await bench.exits(2)
    await bench.until_done(bench.destination())
    held = await bench.message(message)
    assert held.reason is not None and "closed" in held.reason.text
    assert (await bench.message(other)).state is State.DST_FINAL


async def test_an_account_that_a_node_may_not_know_yet_is_no_closed_one(bench: ReleaseBench) -> None:
    asset = bench.asset
    account = associated_account(wallet(0), asset.mint, asset.token_program)
    movement = {"_id": b"m", "kind": "mint", "account": str(account), "slot": await bench.rpc.slot()}
    await bench.store.commit([Insert(MOVEMENTS, movement)])
    (message,) = await bench.exits(1)
    await bench.until_done(bench.destination())
    assert (await bench.message(message)).state is State.DST_FINAL
    await bench.check()


# The bridge's own means


async def test_custody_that_is_short_holds_nobody(bench: ReleaseBench, solana: SolanaServer) -> None:
    asset, key = bench.asset, bench.key.public
    elsewhere = associated_account(wallet(8), asset.mint, asset.token_program)
    await bench.run(create_associated_account(key, wallet(8), asset.mint, asset.token_program))
    move = (asset.token_program, asset.custody, asset.mint, elsewhere, asset.owner, CUSTODY_UNITS, 9)
    await bench.run(transfer_checked(*move))
    await bench.pass_slots()
    client = WithoutPreflight(solana.rpc_url)
    destination = bench.destination(rpc=client)
    messages = await bench.exits(2)
    for _ in range(3):
        await bench.round(destination)
        await bench.pass_slots()
    waiting = [await bench.message(each) for each in messages]
    assert {each.state for each in waiting} <= {State.DST_EXPIRED, State.DST_SENT, State.DST_SEEN}
    back = (asset.token_program, elsewhere, asset.mint, asset.custody, wallet(8), CUSTODY_UNITS, 9)
    owner = FileSigner(Keypair.from_seed((9).to_bytes(32, "big")))
    await bench.run(transfer_checked(*back), signers=[owner])
    await bench.pass_slots(secs=70)
    await bench.until_done(destination)
    await bench.check()
    await client.close()


async def test_a_payer_without_sol_signs_nothing(bench: ReleaseBench) -> None:
    messages = await bench.exits(2)
    balance = await bench.rpc.balance(bench.key.public)
    gift = TransferParams(from_pubkey=bench.key.public, to_pubkey=wallet(5), lamports=balance - 1_000_000)
    await bench.run(transfer(gift))
    destination = bench.destination()
    with pytest.raises(Unavailable, match="lamports"):
        await destination.deliver(messages)
    assert not await bench.releases()
    await bench.rpc.airdrop(bench.key.public, 10**10)
    await bench.pass_slots(secs=10)
    await bench.until_done(destination)
    await bench.check()


@pytest.mark.parametrize(
    ("error", "is_theirs"),
    [
        ({"InstructionError": [0, {"Custom": 1}]}, False),
        ({"InstructionError": [2, {"Custom": 36}]}, True),
        ({"InstructionError": [2, "InvalidAccountData"]}, True),
        ({"InstructionError": [2, {"Custom": 1}]}, False),
        ({"InstructionError": [2, {"Custom": 17}]}, False),
        ({"InstructionError": [99, {"Custom": 36}]}, False),
        ("InsufficientFundsForFee", False),
        (None, False),
    ],
)
async def test_whose_fault_a_failure_is(bench: ReleaseBench, error: Any, is_theirs: bool) -> None:
    asset = bench.asset
    await bench.run(create_associated_account(bench.key.public, wallet(0), asset.mint, asset.token_program))
    await bench.pass_slots()
    await bench.exits(1, wallets=1)
    await bench.round(bench.destination())
    (row,) = await bench.releases()
    assert is_recipients(error, VersionedTransaction.from_bytes(row["raw"])) is is_theirs
