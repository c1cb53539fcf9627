"""Who has the bridge pay the rent of his token account gets it when he closes the account: once, and not again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from spl.token.constants import TOKEN_PROGRAM_ID

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.states import Hold, State
from bridge.programs.tokens import associated_account, transfer_checked
from store.sqlite import SqliteStore
from tests.bridge.mirror_kit import UNITS_A_WH, MirrorNode, memo_to
from tests.overlay.kit import Chain, Clock

_CLOSE = 9
_LAG_SLOTS = 160


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


async def test_an_account_that_the_bridge_made_and_its_owner_closed_is_not_made_again(node: MirrorNode) -> None:
    holder, wallet = Keypair(), Keypair()
    await node.mint_readings(holder, [9])
    await node.deposit(holder, 9 * UNITS_A_WH, memo_to())
    await node.until(State.RECEIPTED)
    await node.lock(1, str(wallet.pubkey()))
    await node.until(State.RECEIPTED)
    await _emptied_and_closed(node, wallet, holder)
    await node.cluster.advance(_LAG_SLOTS)
    await node.lock(1, str(wallet.pubkey()))
    await node.until(State.RECEIPTED, State.HELD)
    *_, again = await node.messages()
    assert again.reason is not None
    assert again.reason.code is Hold.DESTINATION_UNUSABLE
    assert "closed" in again.reason.text


async def _emptied_and_closed(node: MirrorNode, wallet: Keypair, other: Keypair) -> None:
    """Its tokens moved elsewhere, and the rent taken."""
    mint, program = node.mode.mint, TOKEN_PROGRAM_ID
    account, elsewhere = (associated_account(each.pubkey(), mint, program) for each in (wallet, other))
    metas = [
        AccountMeta(account, is_signer=False, is_writable=True),
        AccountMeta(other.pubkey(), is_signer=False, is_writable=True),
        AccountMeta(wallet.pubkey(), is_signer=True, is_writable=False),
    ]
    moved = transfer_checked(program, account, mint, elsewhere, wallet.pubkey(), UNITS_A_WH, 9, ())
    await node.send(wallet, [moved, Instruction(program, bytes([_CLOSE]), metas)])
