"""What owners do to their token accounts, and that no token goes astray for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature
from spl.token import models
from spl.token.constants import TOKEN_PROGRAM_ID
from spl.token.instructions import burn, close_account, set_authority

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.minting.orders import FRESH_MS
from bridge.programs.destination import fault_of
from bridge.programs.keys import FileSigner
from bridge.programs.packing import Packed
from bridge.programs.signing import signed
from bridge.records import MOVEMENTS, ReadingState
from bridge.solana.rpc import AccountState
from bridge.watching.rows import rows_of
from store.port import Put
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import SOL, Mint, NoLease, order_of, slots_passing, wallet

OWNER = Keypair.from_seed((1).to_bytes(32, "big"))
THIEF = Keypair.from_seed((77).to_bytes(32, "big"))
MINT = Pubkey.from_bytes(b"\x05" * 32)
FREE, FROZEN, BLANK = 1, 2, 0


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def mint(cluster: Cluster, solana: SolanaServer, tmp_path: Path) -> AsyncIterator[Mint]:
    made = await Mint.open(cluster, solana.rpc_url, SqliteStore(tmp_path / "node.db", cache_mib=4))
    await made.rpc.airdrop(OWNER.pubkey(), SOL)
    await made.rpc.airdrop(THIEF.pubkey(), SOL)
    yield made
    await made.close()


async def first_mint(mint: Mint) -> bytes:
    """A reading that is minted to the owner's wallet; its key."""
    (key,) = await mint.accept(1, wallets=1)
    await mint.until_minted(mint.minter(lease=NoLease()))
    assert order_of(await mint.row(key)).wallet == OWNER.pubkey() == wallet(0)
    return key


async def act(mint: Mint, who: Keypair, *instructions: Instruction) -> None:
    """The owner's own transaction, final."""
    blockhash = await mint.rpc.latest_blockhash()
    signer = FileSigner(who)
    made = await signed(Packed((), instructions, signer.public), blockhash.value, [signer])
    await mint.rpc.send(bytes(made))
    await mint.pass_slots()
    (status,) = await mint.rpc.statuses([made.signatures[0]])
    assert status is not None and status.error is None


def given_to(mint: Mint, account: Pubkey, now: Keypair, then: Keypair) -> Instruction:
    return set_authority(
        models.SetAuthorityParams(
            program_id=TOKEN_PROGRAM_ID,
            account=account,
            authority=models.AuthorityType.ACCOUNT_OWNER,
            current_authority=now.pubkey(),
            new_authority=then.pubkey(),
        )
    )


async def test_an_account_that_was_given_away_is_not_minted_to(mint: Mint) -> None:
    first = order_of(await mint.row(await first_mint(mint)))
    account = mint.mode.destination(first)
    await act(mint, OWNER, given_to(mint, account, OWNER, THIEF))
    (key,) = await mint.accept(1, wallets=1)
    minter = mint.minter(lease=NoLease())

    await minter.round()

    row = await mint.row(key)
    assert (row["state"], row["attempt"], row["attempts"]) == (ReadingState.RETRY, None, 1)
    assert str(THIEF.pubkey()) in row["error"]
    assert await mint.supply() == first.units
    await act(mint, THIEF, given_to(mint, account, THIEF, OWNER))
    mint.clock.now_ms = row["due_ms"]
    await mint.until_minted(minter)
    await mint.check()


async def test_others_of_the_batch_go_on(mint: Mint) -> None:
    account = mint.mode.destination(order_of(await mint.row(await first_mint(mint))))
    await act(mint, OWNER, given_to(mint, account, OWNER, THIEF))
    keys = await mint.accept(10, wallets=2)
    await mint.minter(lease=NoLease()).round()
    assert sorted(await mint.states(keys)) == ["retry"] * 5 + ["signed"] * 5


async def test_what_was_seen_is_looked_at_again_after_a_while(mint: Mint) -> None:
    account = mint.mode.destination(order_of(await mint.row(await first_mint(mint))))
    (key,) = await mint.accept(1, wallets=1)
    minter = mint.minter(lease=NoLease())
    await mint.until_minted(minter)
    await act(mint, OWNER, given_to(mint, account, OWNER, THIEF))
    (key,) = await mint.accept(1, wallets=1)
    mint.clock.now_ms += FRESH_MS
    await minter.round()
    assert (await mint.row(key))["state"] == ReadingState.RETRY


async def test_an_account_that_its_owner_closed_is_not_paid_for_again(mint: Mint) -> None:
    """Its rent would go to him each time."""
    row = await mint.row(await first_mint(mint))
    account, units = mint.mode.destination(order_of(row)), row["units"]
    seen = await mint.rpc.transaction(Signature.from_bytes(row["attempt"]))
    assert seen is not None
    await mint.store.commit([Put(MOVEMENTS, each) for each in rows_of(seen, [mint.mode.mint], [])])
    owner = OWNER.pubkey()
    await act(
        mint,
        OWNER,
        burn(
            models.BurnParams(
                program_id=TOKEN_PROGRAM_ID, account=account, mint=mint.mode.mint, owner=owner, amount=units
            )
        ),
        close_account(
            models.CloseAccountParams(program_id=TOKEN_PROGRAM_ID, account=account, dest=owner, owner=owner)
        ),
    )
    (key,) = await mint.accept(1, wallets=1)
    minter = mint.minter(lease=NoLease())

    await minter.round()

    row = await mint.row(key)
    assert (row["state"], row["attempt"]) == (ReadingState.RETRY, None)
    assert "closed" in row["error"]
    async with slots_passing(mint.cluster):
        await minter.initialize_token_account(row["wallet"])
    await mint.pass_slots()
    mint.clock.now_ms = row["due_ms"]
    await mint.until_minted(minter)
    assert (await mint.row(key))["state"] == ReadingState.MINTED


def account_of(mint: Pubkey, owner: Pubkey, state: int, length: int = 165) -> AccountState:
    data = bytes(mint) + bytes(owner) + bytes(8) + bytes(36) + bytes([state]) + bytes(56)
    return AccountState(1, TOKEN_PROGRAM_ID, data[:length])


@pytest.mark.parametrize(
    ("account", "fault"),
    [
        (account_of(MINT, OWNER.pubkey(), FREE), None),
        (account_of(MINT, OWNER.pubkey(), FROZEN), "frozen"),
        (account_of(MINT, OWNER.pubkey(), BLANK), "no token account"),
        (account_of(MINT, THIEF.pubkey(), FREE), "belongs to"),
        (account_of(OWNER.pubkey(), OWNER.pubkey(), FREE), "another mint"),
        (account_of(MINT, OWNER.pubkey(), FREE, length=108), "no token account"),
        (AccountState(1, TOKEN_PROGRAM_ID, b""), "no token account"),
        (AccountState(1, MINT, account_of(MINT, OWNER.pubkey(), FREE).data), "no token account"),
    ],
)
def test_what_can_be_minted_to(account: AccountState, fault: str | None) -> None:
    found = fault_of(account, wallet=OWNER.pubkey(), mint=MINT, token_program=TOKEN_PROGRAM_ID)
    assert found is None if fault is None else found is not None and fault in found
