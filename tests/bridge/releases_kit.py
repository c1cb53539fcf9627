"""Solana as a destination, alone: custody on the embedded cluster over HTTP, messages that are accounted for, and a
clock and slots that the test turns."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Literal, cast

from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from solders.token.state import Mint as MintAccount
from solders.token.state import TokenAccount
from spl.token.constants import TOKEN_PROGRAM_ID
from spl.token.instructions import initialize_multisig2, set_authority
from spl.token.models import AuthorityType, InitializeMultisig2Params, SetAuthorityParams

from bridge.cluster.cluster import Cluster
from bridge.minting.lease import Lease
from bridge.mirror.book import Book, Page
from bridge.mirror.ground import Asset, MirrorGround
from bridge.mirror.message import Message, solana_event
from bridge.mirror.records import MESSAGES, MIRROR_COLLECTIONS, RECEIPTS, RELEASES
from bridge.mirror.states import Direction, Kind, State
from bridge.mirror.to_solana.destination import SolanaDestination
from bridge.mirror.to_solana.vault import vault_of
from bridge.programs.keys import FileSigner
from bridge.programs.packing import Packed
from bridge.programs.release import Crossing, Release
from bridge.programs.setup import create_mint
from bridge.programs.signing import signed
from bridge.programs.tokens import associated_account, create_associated_account, mint_to_checked
from bridge.records import BRIDGE_COLLECTIONS
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import SolanaRpc
from config.settings import Settings
from store.pages import every
from store.port import Conflict, Document, Find, Insert, Store, Write
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import FINAL_SLOTS, SOL, Clock, NoLease, Stepping, Steps, slots_passing, wallet

CUSTODY_UNITS = 10**15
UNITS_A_WH = 10**6
LAPSED_SLOTS = 150 + 32 + FINAL_SLOTS
DUE = (State.ACCOUNTED, State.REFUND_ACCOUNTED, State.DST_EXPIRED)


class Ended:
    """What accounting and receipts do with a crossing that ended: here it is only written down."""

    def __init__(self) -> None:
        self.ids: list[bytes] = []

    async def ended(self, messages: Sequence[Message], page: Page) -> None:
        page.note({"ended": [each.id for each in messages]})

    async def write(self, message: Message) -> Write:
        return Insert(RECEIPTS, {"_id": message.id, "receipt": b"{}"})


class ReleaseBench:
    """A mint, custody of a key or of a multisig, messages in a store, and destinations."""

    def __init__(self, cluster: Cluster, rpc: ClusterClient, store: Store, clock: Clock | None = None) -> None:
        self.cluster, self.rpc, self.store = cluster, rpc, store
        self.clock = clock or Clock()
        self.settings = Settings()
        self.key = FileSigner(Keypair())
        self.signers: list[FileSigner] = [self.key]
        self.asset: Asset
        self._number = 0

    @classmethod
    async def open(
        cls,
        cluster: Cluster,
        rpc_url: str,
        store: SqliteStore,
        *,
        token_program: Pubkey = TOKEN_PROGRAM_ID,
        mode: Literal["lock", "burn"] = "lock",
        members: int = 0,
    ) -> ReleaseBench:
        """With `members`, custody or the mint is a multisig's that asks for 2 of 3, of whom so many are here."""
        await store.open([*BRIDGE_COLLECTIONS, *MIRROR_COLLECTIONS])
        bench = cls(cluster, ClusterClient(rpc_url), store)
        await bench.rpc.airdrop(bench.key.public, 500 * SOL)
        await cluster.advance(2)
        async with slots_passing(cluster):
            mint = await create_mint(bench.rpc, bench.key, token_program=token_program, decimals=9)
        await bench._open_asset(mint, token_program, mode, members)
        await cluster.advance(FINAL_SLOTS)
        return bench

    async def close(self) -> None:
        await self.rpc.close()
        await self.store.close()

    async def _open_asset(self, mint: Pubkey, program: Pubkey, mode: Literal["lock", "burn"], members: int) -> None:
        authority = await self._multisig(program, members) if members else self.key.public
        owner = authority if mode == "lock" else self.key.public
        custody = associated_account(owner, mint, program)
        await self.run(create_associated_account(self.key.public, owner, mint, program))
        await self.run(mint_to_checked(program, mint, custody, self.key.public, CUSTODY_UNITS, 9))
        if mode == "burn" and members:
            change = SetAuthorityParams(
                program_id=program,
                account=mint,
                authority=AuthorityType.MINT_TOKENS,
                current_authority=self.key.public,
                new_authority=authority,
            )
            await self.run(set_authority(change))
        self.asset = Asset(
            genesis=self.cluster.genesis_hash,
            mint=mint,
            token_program=program,
            decimals=9,
            owner=owner,
            custody=custody,
            mode=mode,
            mint_authority=authority if mode == "burn" else self.key.public,
        )

    async def _multisig(self, program: Pubkey, members: int) -> Pubkey:
        account, keys = Keypair(), [Keypair() for _ in range(3)]
        self.signers += [FileSigner(each) for each in keys[:members]]
        made = CreateAccountParams(
            from_pubkey=self.key.public,
            to_pubkey=account.pubkey(),
            lamports=await self.rpc.rent_lamports(355),
            space=355,
            owner=program,
        )
        start = InitializeMultisig2Params(
            program_id=program, multisig=account.pubkey(), m=2, signers=[each.pubkey() for each in keys]
        )
        await self.run(create_account(made), initialize_multisig2(start), signers=[FileSigner(account)])
        return account.pubkey()

    async def run(self, *instructions: Instruction, signers: Sequence[FileSigner] = ()) -> None:
        """A transaction of the bridge's key, confirmed."""
        blockhash = await self.rpc.latest_blockhash()
        made = await signed(Packed((), instructions, self.key.public), blockhash.value, [*self.signers, *signers])
        await self.rpc.send(bytes(made))
        await self.cluster.advance(2)

    # Destinations

    def ground(
        self,
        *,
        lease: Lease | None = None,
        steps: Steps | None = None,
        rpc: Any = None,
        witnesses: Sequence[SolanaRpc] = (),
    ) -> MirrorGround:
        store: Any = self.store if steps is None else Stepping(self.store, steps)
        client = rpc or self.rpc
        return MirrorGround(
            store=store,
            book=Book(store, lease or NoLease(), self.clock),
            settings=self.settings,
            now_ms=self.clock,
            engine=cast(Any, None),
            registry=cast(Any, None),
            rpc=client if steps is None else cast(Any, Stepping(client, steps)),
            witnesses=witnesses,
            asset=self.asset,
            signers=self.signers,
            bsv_genesis=bytes(32),
        )

    def destination(self, **options: Any) -> SolanaDestination:
        """One as a process of its own would have it: nothing in memory."""
        ended = cast(Any, Ended())
        return SolanaDestination(self.ground(**options), ended, ended)

    # Messages

    async def exits(self, count: int, *, wallets: int = 2, units: int = 5 * UNITS_A_WH) -> list[Message]:
        """Exits that are accounted for."""
        made = [self._exit(str(wallet(number % wallets)), units) for number in range(count)]
        return await self.accounted(made)

    def _exit(self, recipient: str, units: int) -> Message:
        self._number += 1
        txid = sha256(self._number.to_bytes(4, "big")).digest()
        return Message(
            id=sha256(b"message" + txid).digest(),
            direction=Direction.OUT,
            kind=Kind.EXIT,
            asset=self.asset.name,
            units=units + self._number * UNITS_A_WH,
            source_tx=txid,
            source_event=txid + (self._number % 3).to_bytes(4, "little"),
            recipient=recipient,
            created_ms=self.clock.now_ms,
        )

    async def exit_to(self, recipient: str) -> Message:
        (message,) = await self.accounted([self._exit(recipient, UNITS_A_WH)])
        return message

    async def deposit(self, source: Pubkey | None, **facts: Any) -> Message:
        """A deposit that was held, and is to be given back."""
        self._number += 1
        signature = sha256(b"s" + self._number.to_bytes(4, "big")).digest() * 2
        message = Message(
            id=sha256(b"message" + signature).digest(),
            direction=Direction.IN,
            kind=Kind.DEPOSIT,
            asset=self.asset.name,
            units=7 * UNITS_A_WH + self._number,
            source_tx=signature,
            source_event=solana_event(signature, bytes(6)),
            recipient="",
            created_ms=self.clock.now_ms,
            facts={"source": None if source is None else str(source), **facts},
        )
        (refund,) = await self.accounted([message])
        return refund

    async def accounted(self, messages: Sequence[Message]) -> list[Message]:
        """Messages as the books leave them."""
        async with Book(self.store, NoLease(), self.clock).page() as page:
            for message in messages:
                page.open(message)
                page.move(message, State.SRC_FINAL)
                page.move(message, State.VALIDATED)
                if message.direction is Direction.OUT:
                    page.move(message, State.ACCOUNTED)
                else:
                    page.move(message, State.HELD)
                    page.move(message, State.REFUND_ACCOUNTED, is_refund=True)
        return [page.moved[each.id] for each in messages]

    async def messages(self) -> list[Message]:
        return [Message.read(row) for row in await every(self.store, MESSAGES, Find())]

    async def message(self, message: Message) -> Message:
        row = await self.store.get(MESSAGES, message.id)
        assert row is not None
        return Message.read(row)

    async def releases(self) -> list[Document]:
        return await every(self.store, RELEASES, Find())

    # Rounds

    async def round(self, destination: SolanaDestination, *, most: int = 256) -> None:
        """What a lane and a follower do: deliver what is due, follow, and complete refunds."""
        await self._swallowing(destination.deliver, await self._due(*DUE, most=most))
        await destination.follow()
        refunds = [each for each in await self._due(State.DST_FINAL) if each.is_refund]
        await self._swallowing(destination.complete, refunds)

    async def _due(self, *states: State, most: int = 10_000) -> list[Message]:
        now_ms = self.clock.now_ms
        found = [each for each in await self.messages() if each.state in states]
        return [each for each in found if each.due_ms is not None and each.due_ms <= now_ms][:most]

    async def _swallowing(self, step: Any, messages: Sequence[Message]) -> None:
        """As a lane does: messages that another one changed are read anew in the next round."""
        if messages:
            try:
                await step(messages)
            except Conflict:
                return

    async def pass_slots(self, slots: int = FINAL_SLOTS, secs: float = 2.0) -> None:
        await self.cluster.advance(slots)
        self.clock.now_ms += round(secs * 1000)

    async def until_done(
        self, *destinations: SolanaDestination, rounds: int = 60, slots: int = FINAL_SLOTS
    ) -> None:
        """Rounds and slots until every message is final, ended or held."""
        for _ in range(rounds):
            for destination in destinations:
                await self.round(destination)
            await self.pass_slots(slots)
            if all(self._is_done(each) for each in await self.messages()):
                return
        left = [(each.state, each.reason) for each in await self.messages() if not self._is_done(each)]
        raise AssertionError(f"still under way: {left}")

    def _is_done(self, message: Message) -> bool:
        return message.state in (State.DST_FINAL, State.REFUNDED, State.HELD) and not (
            message.state is State.DST_FINAL and message.is_refund
        )

    # The chain

    async def units(self, account: Pubkey) -> int:
        (state,) = await self.rpc.accounts([account])
        return 0 if state is None or len(state.data) < 165 else TokenAccount.from_bytes(state.data[:165]).amount

    async def supply(self) -> int:
        (state,) = await self.rpc.accounts([self.asset.mint])
        assert state is not None
        return MintAccount.from_bytes(state.data[:82]).supply

    async def check(self) -> None:
        """Each message that says so is paid once, with its own units, by the transaction that it names; held ones
        are not paid; and custody, or the supply, has changed by just that much."""
        mode = Release(self.asset.genesis, await vault_of(self.asset, self.rpc, self.signers), self.key.public)
        total = 0
        for message in await self.messages():
            is_paid = message.state in (State.DST_FINAL, State.REFUNDED)
            paid = await self._paid(mode, message)
            assert paid == ([message.units] if is_paid else []), (message.state, message.reason, paid)
            total += sum(paid)
            if is_paid:
                slot = message.facts["refund_slot" if message.is_refund else "slot"]
                assert slot > 0 and message.destination_tx is not None
                assert Pubkey.from_string(message.facts["marker"]) == mode.guard(_crossing(message))
        paid_out = (
            CUSTODY_UNITS - await self.units(self.asset.custody)
            if self.asset.mode == "lock"
            else await self.supply() - CUSTODY_UNITS
        )
        assert paid_out == total
        assert not [each for each in await self.releases() if each["open_ms"] is not None]

    async def _paid(self, mode: Release, message: Message) -> list[int]:
        """What all transactions in the history of its marker paid for it."""
        crossing = _crossing(message)
        found: list[int] = []
        for entry in await self.rpc.signatures_for(mode.guard(crossing)):
            seen = await self.rpc.transaction(entry.signature)
            if seen is not None and seen.error is None:
                found += mode.minted([crossing], seen).values()
        return found


def _crossing(message: Message) -> Crossing:
    to = Pubkey.from_string(message.facts["paid_to"]) if "paid_to" in message.facts else Pubkey.default()
    return Crossing(message.crossing_id, message.id, to, None, message.units, None)
