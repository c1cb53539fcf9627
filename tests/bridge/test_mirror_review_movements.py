"""What a stranger can write into one transaction so that it is hard to read: a deposit is a deposit all the same,
and parity stays exact."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from spl.memo.constants import MEMO_PROGRAM_ID
from spl.token.constants import TOKEN_PROGRAM_ID

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.from_solana.arrivals import arrivals
from bridge.mirror.parity.parity import Parity
from bridge.mirror.states import State
from bridge.programs.keys import FileSigner
from bridge.programs.setup import create_mint
from bridge.programs.tokens import associated_account, create_associated_account, mint_to_checked
from bridge.solana.rpc import TokenBalance
from store.sqlite import SqliteStore
from tests.bridge.deposits_kit import Vault, noted
from tests.bridge.minting_kit import slots_passing
from tests.bridge.mirror_kit import UNITS_A_WH, MirrorNode, memo_to
from tests.overlay.kit import Chain, Clock

_RENT_LAMPORTS = 2_039_280
_TRANSFER, _CLOSE, _INITIALIZE = 3, 9, 18


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def node(tmp_path: Path, cluster: Cluster, solana: SolanaServer) -> AsyncIterator[MirrorNode]:
    clock = Clock()
    chain = Chain(tmp_path, clock)
    await chain.open()
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    made = MirrorNode(chain, cluster, solana.rpc_url, store, clock)
    await made.open()
    yield made
    await made.close()
    await chain.close()


async def test_a_deposit_through_accounts_that_are_gone_again(node: MirrorNode) -> None:
    """Token accounts that are made and closed in one transaction are in none of its balances, and an unchecked
    transfer between two of them names no mint."""
    holder, first, second = Keypair(), Keypair(), Keypair()
    await node.mint_readings(holder, [5])
    asset, units = node.parts.ground.asset, 3 * UNITS_A_WH
    own = associated_account(holder.pubkey(), asset.mint, TOKEN_PROGRAM_ID)
    steps = [
        *_opened(node, first, holder, asset.mint),
        *_opened(node, second, holder, asset.mint),
        _moved(own, first.pubkey(), holder, units),
        _moved(first.pubkey(), second.pubkey(), holder, units),
        _moved(second.pubkey(), asset.custody, holder, units),
        _closed(node, first, holder),
        _closed(node, second, holder),
    ]
    await _send(node, holder, [first, second], steps)
    await _crossed(node)


async def test_a_deposit_through_an_account_that_was_of_another_mint(node: MirrorNode) -> None:
    """Closed and made again within the transaction, where its balances before tell of the other mint."""
    holder, stop = Keypair(), Keypair()
    await node.mint_readings(holder, [5])
    asset, units, payer = node.parts.ground.asset, 3 * UNITS_A_WH, node.minter_key
    async with slots_passing(node.cluster):
        other = await create_mint(node.rpc, payer, token_program=TOKEN_PROGRAM_ID, decimals=9)
    theirs = associated_account(holder.pubkey(), other, TOKEN_PROGRAM_ID)
    before = [
        create_associated_account(payer.public, holder.pubkey(), other, TOKEN_PROGRAM_ID),
        mint_to_checked(TOKEN_PROGRAM_ID, other, theirs, payer.public, 7, 9),
        *_opened(node, stop, holder, other),
        _moved(theirs, stop.pubkey(), holder, 7),
    ]
    await _send(node, holder, [stop], before)
    own = associated_account(holder.pubkey(), asset.mint, TOKEN_PROGRAM_ID)
    steps = [
        _moved(stop.pubkey(), theirs, holder, 7),
        _closed(node, stop, holder),
        *_opened(node, stop, holder, asset.mint),
        _moved(own, stop.pubkey(), holder, units),
        _moved(stop.pubkey(), asset.custody, holder, units),
        _closed(node, stop, holder),
    ]
    await _send(node, holder, [stop], steps)
    await _crossed(node)


def test_what_happens_elsewhere_in_a_transaction_is_no_matter_of_custodys() -> None:
    """Say a confidential transfer to the depositor's own account, which no instruction here explains."""
    vault = Vault()
    seen = vault.chain.run([vault.moved(vault.alice, vault.bridge, 5), noted(memo_to())], [vault.alice])
    (deposit,) = arrivals(seen, vault.asset)
    elsewhere = [_raised(each, vault.account(vault.alice)) for each in seen.post_tokens]
    assert arrivals(replace(seen, post_tokens=tuple(elsewhere)), vault.asset) == [deposit]
    at_custody = [_raised(each, vault.asset.custody) for each in seen.post_tokens]
    assert arrivals(replace(seen, post_tokens=tuple(at_custody)), vault.asset) == []


def _raised(balance: TokenBalance, account: Pubkey) -> TokenBalance:
    return replace(balance, units=balance.units + 1) if balance.account == account else balance


async def _crossed(node: MirrorNode) -> None:
    await node.until(State.RECEIPTED)
    (message,) = await node.messages()
    assert message.wh == 3
    assert (await Parity(node.parts.ground).compute()).is_exact


async def _send(node: MirrorNode, holder: Keypair, stops: list[Keypair], steps: list[Instruction]) -> None:
    note = Instruction(MEMO_PROGRAM_ID, memo_to().encode(), [])
    await node._send([node.minter_key, FileSigner(holder), *map(FileSigner, stops)], [*steps, note])


def _opened(node: MirrorNode, account: Keypair, owner: Keypair, mint: Pubkey) -> list[Instruction]:
    place = CreateAccountParams(
        from_pubkey=node.minter_key.public,
        to_pubkey=account.pubkey(),
        lamports=_RENT_LAMPORTS,
        space=165,
        owner=TOKEN_PROGRAM_ID,
    )
    data = bytes([_INITIALIZE]) + bytes(owner.pubkey())
    return [create_account(place), _instruction(data, account.pubkey(), mint)]


def _moved(source: Pubkey, destination: Pubkey, owner: Keypair, units: int) -> Instruction:
    return _instruction(struct.pack("<BQ", _TRANSFER, units), source, destination, signer=owner)


def _closed(node: MirrorNode, account: Keypair, owner: Keypair) -> Instruction:
    return _instruction(bytes([_CLOSE]), account.pubkey(), node.minter_key.public, signer=owner)


def _instruction(data: bytes, *accounts: Pubkey, signer: Keypair | None = None) -> Instruction:
    metas = [AccountMeta(each, is_signer=False, is_writable=True) for each in accounts]
    if signer is not None:
        metas.append(AccountMeta(signer.pubkey(), is_signer=True, is_writable=False))
    return Instruction(TOKEN_PROGRAM_ID, data, metas)
