"""A stranger's wallet, which signs what it likes: one certificate of the mirror's, and a bridge that sees what is
submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from solders.keypair import Keypair

from bridge.mirror.message import Message
from bridge.mirror.states import Direction, State
from certificates.document import Json
from certificates.ranges import Range
from certificates.successor import lock, succeed
from certificates.token import OWNER_PROTOCOL, Token, encode_fields
from lookup.records import CERTIFICATES
from overlay.builder import Coin, P2pkhSigner, PushDropSigner, TransactionBuilder, p2pkh_lock
from overlay.keys import PrivateKey, derive_for_anyone
from overlay.outputs import load_outputs
from overlay.pushdrop import lock as script_of
from overlay.records import TRANSACTIONS
from overlay.transaction import Transaction, split_outpoint
from overlay.wire import write_beef
from store.pages import every
from store.port import Find
from tests.bridge.exits_kit import KEY_ID
from tests.bridge.mirror_kit import UNITS_A_WH, MirrorNode, memo_to
from tests.overlay.kit import GC
from topics.certificates import read_script

ROGUE: Final = PrivateKey.from_int(555)
STRANGER: Final = PrivateKey.from_int(1002)
WALLET: Final = Keypair.from_seed(bytes(range(32))).pubkey()
DEPOSITED_WH: Final = 1_500


class Wallet:
    """The stranger's wallet: one certificate of the mirror's, and what it does with it."""

    def __init__(self, node: MirrorNode, coin: Coin, key: PrivateKey, token: Token) -> None:
        self.node, self.coin, self.key, self.token = node, coin, key, token

    @classmethod
    async def with_mirrored(cls, node: MirrorNode) -> Wallet:
        """A deposit of a holder's has arrived at the stranger's identity key."""
        holder = Keypair()
        await node.mint_readings(holder, [DEPOSITED_WH])
        await node.deposit(holder, DEPOSITED_WH * UNITS_A_WH, memo_to(STRANGER.public.hex()))
        await node.until(State.RECEIPTED)
        (row,) = await every(node.store, CERTIFICATES, Find())
        txid, index = split_outpoint(row["_id"])
        output = (await load_outputs(node.store, [row["_id"]]))[row["_id"]]
        token = read_script(output.script)
        assert isinstance(token, Token)
        key = STRANGER.derive(OWNER_PROTOCOL, token.note["key_id"], "anyone")
        return cls(node, Coin(txid, index, output), key, token)

    def locked(self, part: Range | None = None, token: Token | None = None, **leaving: Json) -> Token:
        """As it is locked to the bridge."""
        to = derive_for_anyone(self.node.chain.issuer.public, OWNER_PROTOCOL, KEY_ID)
        exits = {"chain": "solana", "address": str(WALLET), "key_id": KEY_ID} | leaving
        return lock(succeed(token or self.token, to, part=part), to, exits)

    async def spend(self, *tokens: Token, key: PrivateKey | None = None, coin: Coin | None = None) -> Transaction:
        """A transaction that puts these in the place of the certificate; not submitted."""
        builder = TransactionBuilder()
        builder.spend(coin or self.coin, PushDropSigner(key or self.key))
        builder.spend(await self.node.chain.fund(), P2pkhSigner(STRANGER))
        for token in tokens:
            builder.pay(1, script_of(token.locking_key, encode_fields(token)))
        builder.change_to(p2pkh_lock(STRANGER.public))
        return builder.build()

    def beef(self, transaction: Transaction) -> bytes:
        """With the coin that pays; the node has the certificate."""
        funding = transaction.inputs[-1].source_txid
        return write_beef([(self.node.chain.known[funding], self.node.chain.proofs[funding]), (transaction, None)])

    async def submit(self, transaction: Transaction) -> Sequence[int]:
        """Which outputs the topic admits."""
        engine = self.node.registry.node.engine
        steak = await engine.submit(self.beef(transaction), [GC])
        await engine.tend()
        return steak[GC].outputs_to_admit

    async def lock(self, **leaving: Json) -> Transaction:
        """The whole of it, to the bridge."""
        transaction = await self.spend(self.locked(**leaving))
        assert await self.submit(transaction) == (0,)
        return transaction

    async def ordered(self, kind: str, arguments: Mapping[str, Any]) -> None:
        """An operator asks for it, and it is done."""
        order = {**arguments, "reason": "a person has looked"}
        asked = await self.node.mirror.desk.ask(kind, order, "an operator", wait_secs=0)
        assert await self.node.parts.operating.round() == 1
        assert (await self.node.mirror.desk.outcome(asked["command"]))["state"] == "done"

    async def refunded(self) -> None:
        """An operator gives back what is held, and it is the stranger's again."""
        message = await exit_of(self.node)
        await self.ordered("refund", {"message": message.id.hex()})
        await self.node.until(State.RECEIPTED, State.REFUNDED)
        assert (await exit_of(self.node)).state is State.REFUNDED
        live = [row for row in await every(self.node.store, CERTIFICATES, Find()) if row["live"]]
        assert {row["owner_key"] for row in live if row["status"] == "Active"} >= {self.key.public}


async def exit_of(node: MirrorNode) -> Message:
    (message,) = [each for each in await node.messages() if each.direction is Direction.OUT]
    return message


async def height_of(node: MirrorNode) -> int:
    """One below the block of the exit's lock."""
    row = await node.store.get(TRANSACTIONS, (await exit_of(node)).source_tx)
    assert row is not None
    return int(row["height"]) - 1
