"""A whole mirror in one process: the registry on the embedded BSV chain, the embedded Solana cluster over HTTP, and
rounds that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import base58
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature
from spl.memo.constants import MEMO_PROGRAM_ID
from spl.token.constants import TOKEN_PROGRAM_ID
from spl.token.instructions import burn_checked, transfer_checked
from spl.token.models import BurnCheckedParams, TransferCheckedParams

from bridge.cluster.cluster import Cluster
from bridge.minting.lease import Lease
from bridge.minting.minting import Minting
from bridge.mirror.from_bsv.exits import ExitIndex
from bridge.mirror.message import Message
from bridge.mirror.mirror import Joining, Mirror, Parts
from bridge.mirror.records import MESSAGES, MIRROR_COLLECTIONS
from bridge.mirror.states import State
from bridge.programs.keys import FileSigner
from bridge.programs.own import OwnMint
from bridge.programs.packing import Packed
from bridge.programs.setup import create_mint
from bridge.programs.signing import signed
from bridge.programs.tokens import associated_account, create_associated_account, mint_to_checked
from bridge.records import ATTEMPTS, BRIDGE_COLLECTIONS, READINGS, ReadingState, reading_key
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import SeenTransaction, SolanaRpc
from bridge.watching.follower import Watched
from bridge.watching.processor import EventProcessor
from config.errors import Unavailable
from config.settings import BridgeSettings, Settings, SolanaSettings, TokenizationSettings
from energytag.actions import Kind as ActionKind
from overlay.keys import PrivateKey
from store.pages import every
from store.port import Document, Find, Insert, Write
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import FINAL_SLOTS, SOL, NoLease, slots_passing
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, RegistryNode
from tests.overlay.kit import Chain, Clock

INTERVAL_SECS = 300
UNITS_A_WH = 10**6


class MirrorNode:
    """A node's registry, minter, event processor and mirror, without HTTP and without tasks of their own."""

    def __init__(self, chain: Chain, cluster: Cluster, rpc_url: str, store: SqliteStore, clock: Clock) -> None:
        self.chain, self.cluster, self.store, self.clock = chain, cluster, store, clock
        self.rpc = ClusterClient(rpc_url)
        self.minter_key = FileSigner(Keypair())
        self.bridge_key = FileSigner(Keypair())
        self.settings = Settings(
            bridge=BridgeSettings(confirmations=3, large_confirmations=5, poll_secs=0.01),
            tokenization=TokenizationSettings(polling_interval_secs=0.001, batch_size=500),
        )
        self.registry: RegistryNode
        self.mirror: Mirror
        self.minting: Minting
        self.watching: EventProcessor
        self.mode: OwnMint
        self._readings = 0

    # Life

    async def open(self, **bridge: Any) -> None:
        """Everything, with a mint of its own; `bridge` are settings of that section."""
        update = self.settings.bridge.model_copy(update=bridge)
        self.settings = self.settings.model_copy(update={"bridge": update})
        index = ExitIndex(self.chain.issuer.public, self.clock)
        self.registry = RegistryNode(self.chain, self.store, self.clock, self.settings, services=[index])
        await self.registry.open(*BRIDGE_COLLECTIONS, *MIRROR_COLLECTIONS)
        await self.registry.populate()
        for key in (self.minter_key, self.bridge_key):
            await self.rpc.airdrop(key.public, 500 * SOL)
        await self.cluster.advance(2)
        async with slots_passing(self.cluster):
            mint = await create_mint(self.rpc, self.minter_key, token_program=TOKEN_PROGRAM_ID, decimals=9)
        await self.cluster.advance(FINAL_SLOTS)
        self.mode = OwnMint(await self.rpc.genesis_hash(), mint, TOKEN_PROGRAM_ID, self.minter_key.public, 9)
        await self.restart()

    async def restart(self, *, lease: Lease | None = None, witnesses: Sequence[SolanaRpc] = ()) -> None:
        """Minter, event processor and mirror as after a start: nothing in memory."""
        signers = [self.bridge_key]
        if self.settings.bridge.mode == "burn":
            signers.append(self.minter_key)
        self.mirror = Mirror(
            self.settings,
            self.store,
            self.registry.node.engine,
            self.registry.registry,
            signers,
            witnesses,
            self.clock,
            primary=False,
            lease=lease or NoLease(),
        )
        async with slots_passing(self.cluster):
            joining = await self._connected()
        assert joining is not None, self.mirror.trouble
        self.minting = Minting(
            self.store,
            self.rpc,
            self.mode,
            self.minter_key,
            self.settings.tokenization,
            SolanaSettings(),
            self.clock,
            lease=NoLease(),
        )

        async def on_final(seen: SeenTransaction) -> list[Write]:
            return [*await self.minting.confirmations(seen), *await joining.on_final(seen)]

        self.watching = EventProcessor(
            self.store,
            self.rpc,
            None,
            [Watched("mint", self.mode.mint), *joining.watched],
            self.clock,
            lambda: None,
            on_final,
            turn=self.minting.turn,
        )

    async def _connected(self) -> Joining | None:
        """Asked again while the custody account is being made."""
        for _ in range(100):
            try:
                return await self.mirror.connect(self.rpc, self.mode)
            except Unavailable:
                await asyncio.sleep(0.05)
        raise AssertionError("not connected")

    async def close(self) -> None:
        await self.mirror.stop()
        await self.registry.close()
        await self.rpc.close()

    @property
    def parts(self) -> Parts:
        return self.mirror.parts

    # Rounds

    async def round(self, *, blocks: int = 1, slots: int = FINAL_SLOTS) -> None:
        """One turn of everything, then time passes on both chains."""
        await self.watching.catch_up()
        for lane in self.parts.lanes:
            await lane.round()
        await self.parts.solana.follow()
        await self.registry.node.engine.tend()
        await self.parts.bsv.follow()
        if slots:
            await self.cluster.advance(slots)
        for _ in range(blocks):
            await self.mine()
        self.clock.now_ms += 5_000

    async def mine(self) -> None:
        """A block, of which the node knows and has asked for its proofs."""
        await self.chain.dev.mine(1)
        await self.registry.node.headers.sync()
        await self.registry.node.engine.refresh_proofs()

    async def until(self, *states: State, rounds: int = 40) -> None:
        """Rounds until all messages are in one of these states."""
        for _ in range(rounds):
            await self.round()
            messages = await self.messages()
            if messages and all(each.state in states for each in messages):
                return
        left = [(each.kind, each.state, each.reason, each.facts) for each in await self.messages()]
        raise AssertionError(f"not {states}: {left}")

    async def messages(self) -> list[Message]:
        return [Message.read(row) for row in await every(self.store, MESSAGES, Find("seq"))]

    # What households do

    async def mint_readings(self, holder: Keypair, kwh_wh: Sequence[int], *, device: str = DEVICE) -> list[bytes]:
        """Readings of a meter of the device, accepted and minted to the holder's wallet; their keys."""
        rows = [self._reading(holder.pubkey(), wh, device) for wh in kwh_wh]
        await self.store.commit([Insert(READINGS, row) for row in rows])
        for _ in range(40):
            await self.minting.round()
            await self.cluster.advance(FINAL_SLOTS)
            self.clock.now_ms += 1_000
            await self.watching.catch_up()
            if not await self.store.count(READINGS, Find("open")):
                return [row["_id"] for row in rows]
        raise AssertionError("not minted")

    def _reading(self, wallet: Pubkey, wh: int, device: str) -> Document:
        self._readings += 1
        number, now_ms, meter = self._readings, self.clock.now_ms, f"METER-{device[:4]}"
        start_ms = now_ms - now_ms % (INTERVAL_SECS * 1000) - (10_000 - number) * INTERVAL_SECS * 1000
        return {
            "_id": reading_key(meter, start_ms),
            "meter": meter,
            "wallet": str(wallet),
            "interval_start_ms": start_ms,
            "submitted_ms": now_ms,
            "open_ms": now_ms,
            "due_ms": now_ms,
            "retry_ms": None,
            "minted_ms": None,
            "state": ReadingState.ACCEPTED.value,
            "attempts": 0,
            "interval_secs": INTERVAL_SECS,
            "kwh": f"{wh / 1000:.3f}",
            "timestamp": "2026-06-01T12:00:00Z",
            "timestamp_ms": now_ms,
            "units": wh * UNITS_A_WH,
            "signature": base58.b58encode(number.to_bytes(64, "big")).decode(),
            "attempt": None,
            "error": None,
            "slot": None,
            "held_for": None,
            "conflicts": 0,
            "public_key": str(wallet),
            "format": "gridtokenx",
            "name": meter,
            "measured": {},
            "user_id": None,
            "account_id": ACCOUNT,
            "device_id": device,
        }

    async def mint_to_custody(self, wh: Sequence[int]) -> list[bytes]:
        """Readings of a meter that is mirrored: minted straight into custody."""
        rows = []
        for each in wh:
            row = self._reading(Keypair().pubkey(), each, DEVICE)
            rows.append({**row, "mint_to": str(self.mirror.custody_wallet)})
        await self.store.commit([Insert(READINGS, row) for row in rows])
        for _ in range(40):
            await self.minting.round()
            await self.cluster.advance(FINAL_SLOTS)
            self.clock.now_ms += 1_000
            await self.watching.catch_up()
            if not await self.store.count(READINGS, Find("open")):
                return [row["_id"] for row in rows]
        raise AssertionError("not minted")

    async def deposit(self, holder: Keypair, units: int, memo: str | None) -> Signature:
        """A transfer into custody, final."""
        asset = self.parts.ground.asset
        transfer = transfer_checked(
            TransferCheckedParams(
                program_id=TOKEN_PROGRAM_ID,
                source=associated_account(holder.pubkey(), asset.mint, TOKEN_PROGRAM_ID),
                mint=asset.mint,
                dest=asset.custody,
                owner=holder.pubkey(),
                amount=units,
                decimals=9,
            )
        )
        return await self.send(holder, [transfer, *_memo(memo)])

    async def burn(self, holder: Keypair, units: int, memo: str | None) -> Signature:
        asset = self.parts.ground.asset
        burned = burn_checked(
            BurnCheckedParams(
                program_id=TOKEN_PROGRAM_ID,
                mint=asset.mint,
                account=associated_account(holder.pubkey(), asset.mint, TOKEN_PROGRAM_ID),
                owner=holder.pubkey(),
                amount=units,
                decimals=9,
            )
        )
        return await self.send(holder, [burned, *_memo(memo)])

    async def give(self, wallet: Pubkey, units: int) -> None:
        """Tokens without any reading."""
        asset, payer = self.parts.ground.asset, self.minter_key.public
        account = associated_account(wallet, asset.mint, TOKEN_PROGRAM_ID)
        await self._send(
            [self.minter_key],
            [
                create_associated_account(payer, wallet, asset.mint, TOKEN_PROGRAM_ID),
                mint_to_checked(TOKEN_PROGRAM_ID, asset.mint, account, payer, units, 9),
            ],
        )

    async def send(self, holder: Keypair, instructions: Sequence[Instruction]) -> Signature:
        """A transaction of a holder's, final; the minting key pays."""
        return await self._send([self.minter_key, FileSigner(holder)], instructions)

    async def _send(self, signers: Sequence[FileSigner], instructions: Sequence[Instruction]) -> Signature:
        blockhash = await self.rpc.latest_blockhash()
        packed = Packed((), tuple(instructions), signers[0].public)
        made = await signed(packed, blockhash.value, signers)
        signature = await self.rpc.send(bytes(made))
        await self.cluster.advance(FINAL_SLOTS)
        return signature

    async def lock(self, wh: int, address: str, *, account_id: str = ACCOUNT, **leaving: Any) -> str:
        """A part of an account's certificates locked to the bridge; the txid."""
        request = {
            "source_account_id": account_id,
            "certificate_quantity": wh,
            "exit": {"chain": "solana", "address": address, **leaving},
        }
        return (await self.registry.resolved(ActionKind.LOCK, request)).action.txids[0]

    # The chains

    async def balance(self, account: Pubkey) -> int:
        """Base units of a token account."""
        (state,) = await self.rpc.accounts([account])
        return 0 if state is None else int.from_bytes(state.data[64:72], "little")

    async def wallet_balance(self, wallet: Pubkey) -> int:
        return await self.balance(associated_account(wallet, self.mode.mint, TOKEN_PROGRAM_ID))

    async def custody(self) -> int:
        return await self.balance(self.parts.ground.asset.custody)

    async def attempts(self) -> list[Document]:
        return await every(self.store, ATTEMPTS, Find())


def memo_to(recipient: str = ACCOUNT) -> str:
    return f"gwx1:{recipient}"


def stranger() -> PrivateKey:
    """A key that has no account."""
    return PrivateKey.from_int(4242)


def _memo(text: str | None) -> list[Instruction]:
    return [] if text is None else [Instruction(MEMO_PROGRAM_ID, text.encode(), [])]


__all__ = ["ACCOUNT", "DEVICE", "OTHER_ACCOUNT", "MirrorNode", "memo_to", "stranger"]
