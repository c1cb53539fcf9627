"""Exits without the rest of the mirror: a registry's engine with the index of exits, their source, and a lane that
goes as far as VALIDATED. Locks are made by the registry, and by the wallet of a stranger."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from spl.token.constants import TOKEN_PROGRAM_ID

from bridge.mirror.book import Book, Page
from bridge.mirror.from_bsv.exits import ExitIndex
from bridge.mirror.from_bsv.source import BsvSource
from bridge.mirror.ground import Asset, MirrorGround
from bridge.mirror.lane import Lane
from bridge.mirror.message import Message
from bridge.mirror.origin import origin_of
from bridge.mirror.pauses import Pauses
from bridge.mirror.records import INBOX, MESSAGES, MIRROR_COLLECTIONS
from bridge.mirror.states import Direction, Kind
from bridge.programs.keys import FileSigner
from bridge.programs.tokens import associated_account
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import SolanaRpc
from certificates.document import Json
from certificates.issuance import issue, withdraw
from certificates.ranges import Range
from certificates.successor import lock, succeed
from certificates.token import ISSUANCE_PROTOCOL, OWNER_PROTOCOL, Token, encode_fields
from certificates.withdrawal import Withdrawal
from config.settings import Settings
from overlay.builder import Coin, P2pkhSigner, PushDropSigner, TransactionBuilder, p2pkh_lock
from overlay.chain import Broadcast, TxStatus
from overlay.keys import PrivateKey, derive_for_anyone
from overlay.pushdrop import lock as script_of
from overlay.steak import Steak
from overlay.transaction import Transaction, outpoint
from store.pages import every
from store.port import Find
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import NoLease
from tests.energytag.kit import RegistryNode
from tests.overlay.kit import GC, Chain, Clock
from tests.sample import ATTRIBUTES
from topics.certificates import read_script

BSV_GENESIS: Final = bytes(range(32))
WALLET: Final = str(Keypair.from_seed(bytes(range(32))).pubkey())
KEY_ID: Final = "YSBrZXkgaWQ="
HOLDER: Final = PrivateKey.from_int(1002)
"""`Chain.owner`: the key of a stranger's wallet."""


def an_asset(genesis: Hash) -> Asset:
    """A mint and a custody at addresses where nothing is."""
    owner, mint = (Keypair.from_seed(bytes([number]) * 32).pubkey() for number in (7, 8))
    custody = associated_account(owner, mint, TOKEN_PROGRAM_ID)
    return Asset(genesis, mint, TOKEN_PROGRAM_ID, 9, owner, custody, "lock", owner)


class Parked:
    """What is beyond the source in a lane: messages stop before it, and stay where they are."""

    async def account(self, messages: Sequence[Message], page: Page) -> None:
        for message in messages:
            page.put_off(message, None)

    async def refund(self, message: Message, page: Page) -> None:
        raise AssertionError("no refund here")

    async def ended(self, messages: Sequence[Message], page: Page) -> None:
        raise AssertionError("nothing ends here")

    async def deliver(self, messages: Sequence[Message]) -> None:
        assert not messages

    async def follow(self) -> int:
        return 0

    async def complete(self, messages: Sequence[Message]) -> None:
        assert not messages


class Exits:
    """One node, one lane."""

    def __init__(
        self, chain: Chain, store: SqliteStore, clock: Clock, rpc_url: str, topics: Any = None, **bridge: Any
    ) -> None:
        settings = Settings.model_validate(
            {
                "bridge": {"enabled": True, "confirmations": 3, "large_confirmations": 5, "large_wh": 900} | bridge,
                "topics": topics or {},
            }
        )
        self.chain, self.store, self.clock = chain, store, clock
        self.index = ExitIndex(chain.issuer.public, clock)
        self.registry = RegistryNode(chain, store, clock, settings, services=[self.index])
        self.rpc: SolanaRpc = ClusterClient(rpc_url)
        self.book: Book
        self.asset: Asset
        self.source: BsvSource
        self.lane: Lane

    async def open(self) -> None:
        await self.registry.open(*MIRROR_COLLECTIONS)
        await self.registry.populate()
        self.asset = an_asset(await self.rpc.genesis_hash())
        self.restart()

    def restart(self) -> None:
        """Lane and source as after a start: nothing in memory."""
        self.book = Book(self.store, NoLease(), self.clock)
        ground = MirrorGround(
            self.store,
            self.book,
            self.registry.settings,
            self.clock,
            self.registry.node.engine,
            self.registry.registry,
            self.rpc,
            (),
            self.asset,
            (FileSigner(Keypair()),),
            BSV_GENESIS,
        )
        self.source = BsvSource(ground)
        parked = Parked()
        pauses = Pauses(self.store)
        self.lane = Lane(Direction.OUT, self.store, self.book, pauses, self.source, parked, parked, parked, parked)

    async def close(self) -> None:
        await self.registry.close()
        await self.rpc.close()

    # Certificates

    def origin(self, **changes: Any) -> dict[str, Json]:
        """The origin of a message in, as the bridge writes it; what the books say of it is not asked here."""
        event = bytes(range(64)) + bytes.fromhex("0001ffff0000")
        message = Message(
            b"\x11" * 32, Direction.IN, Kind.DEPOSIT, self.asset.name, 10**9, event[:64], event, "who", 0
        )
        return origin_of(message, self.asset.genesis) | changes

    async def issue(
        self, wh: int = 1000, origin: Json = None, issuer: PrivateKey | None = None, **changes: Any
    ) -> tuple[Transaction, Token]:
        """A certificate of the stranger's, admitted."""
        issuer, funding = issuer or self.chain.issuer, await self.chain.fund()
        spent = outpoint(funding.txid, funding.index)
        token = issue(
            ATTRIBUTES | changes,
            Range(1, wh),
            spends=spent,
            output_index=0,
            issuer_key=issuer.public,
            locking_key=HOLDER.public,
            origin=origin,
        )
        signed = token.with_signature(
            issuer.derive(ISSUANCE_PROTOCOL, token.issuance_id, "anyone").sign(token_digest(token))
        )
        transaction = self.chain.spend([funding], [signed])
        await self.submit(transaction)
        return transaction, signed

    def locked(self, token: Token, leaving: dict[str, Json] | None = None, part: Range | None = None) -> Token:
        """The token as its holder locks it to the bridge."""
        exits = {"chain": "solana", "address": WALLET, "key_id": KEY_ID} | (leaving or {})
        to = derive_for_anyone(self.chain.issuer.public, OWNER_PROTOCOL, KEY_ID)
        return lock(succeed(token, to, part=part), to, exits)

    async def lock(
        self, wh: int = 500, leaving: dict[str, Json] | None = None, origin: Json = None, **options: Any
    ) -> Transaction:
        """A mirrored certificate, issued and locked by a stranger; admitted, and known to the network."""
        issued, token = await self.issue(wh, self.origin() if origin is None else origin, **options)
        transaction = await self.chain.succeed([coin_of(issued)], [self.locked(token, leaving)])
        await self.submit(transaction)
        return transaction

    async def end(self, locked: Transaction, after: Token) -> Transaction:
        """The bridge's key spends a lock of `KEY_ID`."""
        builder = TransactionBuilder()
        key = self.chain.issuer.derive(OWNER_PROTOCOL, KEY_ID, "anyone")
        builder.spend(coin_of(locked), PushDropSigner(key))
        builder.spend(await self.chain.fund(), P2pkhSigner(HOLDER))
        builder.pay(1, script_of(after.locking_key, encode_fields(after)))
        builder.change_to(p2pkh_lock(HOLDER.public))
        made = builder.build()
        self.chain.known[made.txid] = made
        await self.submit(made)
        return made

    async def notice(self, token: Token, part: Range, reason: str) -> None:
        """The issuer withdraws a part."""
        statement = withdraw(token, part, reason, locking_key=self.chain.issuer.public)
        key = self.chain.issuer.derive(ISSUANCE_PROTOCOL, token.issuance_id, "anyone")
        signed = statement.with_signature(key.sign(token_digest(statement)))
        await self.submit(self.chain.spend([await self.chain.fund()], [signed]))  # type: ignore[list-item]

    async def submit(self, transaction: Transaction) -> Steak:
        steak = await self.registry.node.submit(transaction, GC)
        await self.registry.node.engine.tend()
        return steak

    # The chain

    async def mine(self, blocks: int = 1) -> None:
        """Blocks, of which the node knows, with the proofs of what is in them."""
        for _ in range(blocks):
            await self.chain.dev.mine(1)
            await self.sync()

    async def reorg(self, depth: int, *, drop: bool = False) -> None:
        await self.chain.dev.reorg(depth, drop)
        await self.sync()

    async def sync(self) -> None:
        await self.registry.node.headers.sync()
        await self.registry.node.engine.tend()
        await self.registry.node.engine.refresh_proofs()

    async def evict(self, transaction: Transaction) -> None:
        """The network refuses it."""
        refusal = Broadcast(transaction.txid, TxStatus.DOUBLE_SPEND_ATTEMPTED, "told so")
        assert await self.registry.node.engine.proofs.ingest(refusal)

    # The lane

    async def round(self) -> None:
        """What a worker does: one pass."""
        await self.lane.round()

    async def messages(self) -> list[Message]:
        return [Message.read(row) for row in await every(self.store, MESSAGES, Find("seq"))]

    async def message(self) -> Message:
        """The only one."""
        (message,) = await self.messages()
        return message

    async def inbox(self) -> int:
        """Rows that no message was made of yet."""
        return await self.store.count(INBOX, Find("lane", {"lane": "out"}))

    async def found(self, query: Any = "all") -> list[tuple[str, int, bytes | None]]:
        answer = await self.registry.node.engine.lookup(self.index.name, query)
        return [(each.txid[::-1].hex(), each.output_index, each.context) for each in answer.outputs]


def coin_of(transaction: Transaction, index: int = 0) -> Coin:
    return Coin(transaction.txid, index, transaction.outputs[index])


def token_of(transaction: Transaction, index: int = 0) -> Token:
    token = read_script(transaction.outputs[index].script)
    assert isinstance(token, Token)
    return token


def token_digest(token: Token | Withdrawal) -> bytes:
    return sha256(token.signed_text).digest()


def off_curve() -> str:
    """An address of a program's, for which no key signs."""
    return str(Pubkey.find_program_address([b"off the curve"], TOKEN_PROGRAM_ID)[0])
