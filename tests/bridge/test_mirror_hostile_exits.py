"""What each hostile exit ends in, with the whole mirror at work: nothing is released, nothing is lost, and parity
is exact at the end.

The certificates are in a stranger's wallet, which signs what it likes; the bridge's node sees what is submitted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.states import Direction, Hold, State
from certificates.document import Json
from certificates.issuance import issue, withdraw
from certificates.ranges import Range
from certificates.successor import transfer
from certificates.token import ISSUANCE_PROTOCOL, Token
from config.errors import BadRequest, ErrorCode
from config.settings import IssuerSettings, TopicSettings
from lookup.records import CERTIFICATES
from overlay.builder import Coin
from overlay.keys import PrivateKey
from overlay.records import load_raws
from overlay.transaction import Transaction, outpoint
from store.pages import every
from store.port import Find
from store.sqlite import SqliteStore
from tests.bridge.exits_kit import off_curve, token_digest
from tests.bridge.mirror_kit import UNITS_A_WH, MirrorNode
from tests.bridge.stranger_kit import DEPOSITED_WH, ROGUE, STRANGER, WALLET, Wallet, exit_of, height_of
from tests.overlay.kit import GC, Chain, Clock
from tests.sample import ATTRIBUTES


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
def bridge() -> Mapping[str, Any]:
    """Settings of the bridge; a test may say others."""
    return {}


@pytest.fixture
async def wallet(
    tmp_path: Path, cluster: Cluster, solana: SolanaServer, bridge: Mapping[str, Any]
) -> AsyncIterator[Wallet]:
    clock = Clock()
    chain = Chain(tmp_path, clock)
    await chain.open()
    node = MirrorNode(chain, cluster, solana.rpc_url, SqliteStore(tmp_path / "node.db", cache_mib=4), clock)
    rogue = IssuerSettings(identity_key=ROGUE.public.hex(), name="A rogue issuing body")
    node.settings = node.settings.model_copy(update={"topics": TopicSettings(issuers=(rogue,))})
    await node.open(**bridge)
    yield await Wallet.with_mirrored(node)
    await node.close()
    await chain.close()


async def holds(wallet: Wallet, code: Hold) -> None:
    """The exit is held for that, whatever time passes; nothing was released, and the books are exact."""
    node = wallet.node
    await node.until(State.RECEIPTED, State.HELD)
    for _ in range(3):
        await node.round()
    message = await exit_of(node)
    assert message.reason is not None
    assert (message.state, message.reason.code) == (State.HELD, code)
    await nothing_was_released(wallet)


async def nothing_was_released(wallet: Wallet) -> None:
    node = wallet.node
    assert await node.custody() == DEPOSITED_WH * UNITS_A_WH
    assert await node.wallet_balance(WALLET) == 0
    figures = await node.parts.parity.compute()
    assert figures.is_exact, figures


TABLE: Final[dict[str, tuple[dict[str, Any], Hold]]] = {
    "to a chain that is not the bridge's": ({"chain": "ethereum"}, Hold.CHAIN_MALFORMED),
    "to another cluster": ({"chain": "solana:" + "1" * 32}, Hold.CHAIN_MALFORMED),
    "to no address": ({"address": "to me, please"}, Hold.ADDRESS_MALFORMED),
    "to an address of 9,000 characters": ({"address": "x" * 9_000}, Hold.ADDRESS_MALFORMED),
    "to a program's address": ({"address": off_curve()}, Hold.ADDRESS_MALFORMED),
}


async def test_exits_to_nowhere_are_held_and_given_back(wallet: Wallet) -> None:
    """Every case takes a part of the certificate, all in one transaction."""
    node, asset = wallet.node, wallet.node.parts.ground.asset
    own = {name: ({"address": str(getattr(asset, name))}, Hold.ADDRESS_MALFORMED) for name in ("owner", "mint")}
    cases = list((TABLE | own).values())
    whole, size = wallet.token.bundle.range, DEPOSITED_WH // len(cases)
    starts = [whole.start + number * size for number in range(len(cases))]
    ends = [*(start - 1 for start in starts[1:]), whole.end]
    parts = [Range(start, end) for start, end in zip(starts, ends, strict=True)]
    locked = [wallet.locked(part, **leaving) for part, (leaving, _) in zip(parts, cases, strict=True)]
    assert await wallet.submit(await wallet.spend(*locked)) == tuple(range(len(cases)))
    await node.until(State.RECEIPTED, State.HELD)
    held = {each.facts["range"][0]: each for each in await node.messages() if each.direction is Direction.OUT}
    assert [held[start].reason and held[start].reason.code for start in starts] == [code for _, code in cases]
    await nothing_was_released(wallet)
    for message in held.values():
        await wallet.ordered("refund", {"message": message.id.hex()})
    await node.until(State.RECEIPTED, State.REFUNDED)
    rows = [row for row in await every(node.store, CERTIFICATES, Find()) if row["live"]]
    assert {(row["status"], row["owner_key"]) for row in rows} == {("Active", wallet.key.public)}
    assert sum(row["quantity_wh"] for row in rows) == DEPOSITED_WH
    await nothing_was_released(wallet)


async def test_a_refund_goes_to_the_key_that_the_owner_named(wallet: Wallet) -> None:
    named = PrivateKey.from_int(9)
    await wallet.lock(chain="ethereum", owner=named.public.hex())
    wallet.key = named
    await holds(wallet, Hold.CHAIN_MALFORMED)
    await wallet.refunded()


async def test_who_locks_what_is_not_his_is_refused_at_the_door(wallet: Wallet) -> None:
    thief = PrivateKey.from_int(666)
    with pytest.raises(BadRequest) as refusal:
        await wallet.submit(await wallet.spend(wallet.locked(), key=thief))
    assert refusal.value.code is ErrorCode.SCRIPT_INVALID
    await wallet.node.round()
    assert len(await wallet.node.messages()) == 1
    await nothing_was_released(wallet)


async def test_a_changed_origin_is_not_admitted(wallet: Wallet) -> None:
    """The origin is under the issuer's signature: the topic knows no successor with another one."""
    forged = issue(
        ATTRIBUTES,
        Range(1, 10**6),
        spends=outpoint(wallet.coin.txid, wallet.coin.index),
        output_index=0,
        issuer_key=wallet.token.issuer_key,
        locking_key=wallet.key.public,
        origin=wallet.token.origin,
    ).with_signature(wallet.token.signature)
    assert await wallet.submit(await wallet.spend(wallet.locked(token=forged))) == ()
    await wallet.node.round()
    assert len(await wallet.node.messages()) == 1


async def issued_by(wallet: Wallet, issuer: PrivateKey, wh: int, origin: Json) -> tuple[Coin, Token]:
    """A certificate that an issuer made by hand, in the stranger's wallet."""
    node = wallet.node
    funding = await node.chain.fund()
    token = issue(
        ATTRIBUTES,
        Range(1, wh),
        spends=outpoint(funding.txid, funding.index),
        output_index=0,
        issuer_key=issuer.public,
        locking_key=STRANGER.public,
        origin=origin,
    )
    key = issuer.derive(ISSUANCE_PROTOCOL, token.issuance_id, "anyone")
    signed = token.with_signature(key.sign(token_digest(token)))
    transaction = node.chain.spend([funding], [signed])
    assert await wallet.submit(transaction) == (0,)
    return Coin(transaction.txid, 0, transaction.outputs[0]), signed


async def test_a_certificate_of_no_token_is_held(wallet: Wallet) -> None:
    coin, token = await issued_by(wallet, ROGUE, 100, None)
    assert await wallet.submit(await wallet.spend(wallet.locked(token=token), key=STRANGER, coin=coin)) == (0,)
    await holds(wallet, Hold.NOT_MIRRORED)
    wallet.key = STRANGER
    await wallet.refunded()
    await nothing_was_released(wallet)


@pytest.mark.parametrize("wh", [100, DEPOSITED_WH + 1])
async def test_a_rogue_issuers_copy_of_an_origin_draws_nothing(wallet: Wallet, wh: int) -> None:
    """A trusted issuer states the origin of a real message: the books know which certificates the message had."""
    coin, token = await issued_by(wallet, ROGUE, wh, wallet.token.origin)
    assert await wallet.submit(await wallet.spend(wallet.locked(token=token), key=STRANGER, coin=coin)) == (0,)
    await holds(wallet, Hold.OVERDRAWN)
    wallet.key = STRANGER
    await wallet.refunded()
    await nothing_was_released(wallet)


async def test_what_the_issuer_withdrew_is_held(wallet: Wallet) -> None:
    await wallet.lock()
    issuer = wallet.node.chain.issuer
    part = wallet.token.bundle.range
    notice = withdraw(wallet.token, part, "the meter was wrong", locking_key=issuer.public)
    key = issuer.derive(ISSUANCE_PROTOCOL, wallet.token.issuance_id, "anyone")
    signed = notice.with_signature(key.sign(token_digest(notice)))
    chain = wallet.node.chain
    assert await wallet.submit(chain.spend([await chain.fund()], [signed])) == (0,)  # type: ignore[list-item]
    node = wallet.node
    await node.until(State.RECEIPTED, State.HELD)
    message = await exit_of(node)
    assert message.reason is not None
    assert message.reason.code is Hold.WITHDRAWN
    assert await node.wallet_balance(WALLET) == 0


async def test_an_exit_that_is_submitted_again_and_again_crosses_once(wallet: Wallet) -> None:
    locked = await wallet.lock()
    node = wallet.node
    for _ in range(4):
        await wallet.submit(locked)
        await node.round()
    await node.until(State.RECEIPTED)
    await wallet.submit(locked)
    await node.registry.node.engine.reindex()
    await node.restart()
    for _ in range(4):
        await node.round()
    assert len(await node.messages()) == 2
    assert await node.wallet_balance(WALLET) == DEPOSITED_WH * UNITS_A_WH
    assert await node.custody() == 0
    assert (await node.parts.parity.compute()).is_exact


async def test_a_double_spend_that_the_network_had_first_releases_nothing(wallet: Wallet) -> None:
    """The node admits the lock; the network knows the stranger's other spend of the same coin, and mines it."""
    node, engine = wallet.node, wallet.node.registry.node.engine
    node.chain.known[wallet.coin.txid] = Transaction.parse(
        (await load_raws(node.store, [wallet.coin.txid]))[wallet.coin.txid]
    )
    rival = await wallet.spend(transfer(wallet.token, STRANGER.public))
    locked = await wallet.spend(wallet.locked())
    await node.chain.dev.submit(node.chain.extended(rival))
    assert await engine.submit(wallet.beef(locked), [GC])
    for lane in node.parts.lanes:
        await lane.round()
    assert (await exit_of(node)).state is State.OBSERVED
    for _ in range(5):
        await node.round()
    assert (await exit_of(node)).state is State.SRC_ORPHANED
    assert await wallet.submit(rival) == (0,)
    with pytest.raises(BadRequest) as refusal:
        await wallet.submit(locked)
    assert refusal.value.code is ErrorCode.DOUBLE_SPEND
    await node.round()
    assert (await exit_of(node)).state is State.SRC_ORPHANED
    await nothing_was_released(wallet)


@pytest.mark.parametrize("depth", [1, 3])
async def test_a_reorganisation_delays_an_exit_and_doubles_nothing(wallet: Wallet, depth: int) -> None:
    node = wallet.node
    await wallet.lock()
    for _ in range(3):
        await node.round()
        await node.chain.dev.reorg(depth)
        await node.mine()
    await node.until(State.RECEIPTED)
    assert await node.wallet_balance(WALLET) == DEPOSITED_WH * UNITS_A_WH
    assert (await node.parts.parity.compute()).is_exact


@pytest.mark.parametrize("bridge", [{"large_wh": 1_000, "large_confirmations": 3, "large_delay_secs": 100}])
async def test_a_source_that_goes_while_the_exit_is_queued_stops_the_bridge(wallet: Wallet) -> None:
    """Deeper than what is final: the lock's block is replaced, and the stranger's other spend is mined instead."""
    node, dev = wallet.node, wallet.node.chain.dev
    node.chain.known[wallet.coin.txid] = Transaction.parse(
        (await load_raws(node.store, [wallet.coin.txid]))[wallet.coin.txid]
    )
    rival = await wallet.spend(transfer(wallet.token, STRANGER.public))
    await wallet.lock()
    await node.until(State.RECEIPTED, State.QUEUED)
    await dev.reorg(dev.tip.height - await height_of(node), drop=True)
    await dev.submit(node.chain.extended(rival))
    await node.mine()
    node.clock.now_ms += 100_000
    await node.until(State.RECEIPTED, State.HELD)
    message = await exit_of(node)
    assert message.reason is not None
    assert message.reason.code is Hold.SOURCE_LOST
    assert set(await node.mirror.pauses.all()) == set(Direction)
    assert await node.wallet_balance(WALLET) == 0
    with pytest.raises(BadRequest) as refusal:
        await wallet.ordered("refund", {"message": message.id.hex()})
    assert refusal.value.code is ErrorCode.STATUS_FORBIDS


@pytest.mark.parametrize("bridge", [{"large_wh": 1_000, "large_confirmations": 3, "large_delay_secs": 100}])
async def test_a_source_that_was_lost_and_is_back_goes_on_at_a_persons_word(wallet: Wallet) -> None:
    node = wallet.node
    locked = await wallet.lock()
    await node.until(State.RECEIPTED, State.QUEUED)
    await node.registry.node.engine.remove_output(locked.txid, 0)
    node.clock.now_ms += 100_000
    await node.until(State.RECEIPTED, State.HELD)
    await wallet.submit(locked)
    for direction in Direction:
        await wallet.ordered("resume", {"direction": direction.value})
    await wallet.ordered("release", {"message": (await exit_of(node)).id.hex()})
    await node.until(State.RECEIPTED)
    assert await node.wallet_balance(WALLET) == DEPOSITED_WH * UNITS_A_WH
    assert (await node.parts.parity.compute()).is_exact
