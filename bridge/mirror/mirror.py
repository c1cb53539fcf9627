"""The mirror of one process: its parts, put together once Solana has answered, and its life.

    lane in ─┐                      ┌─ follow BSV
    lane out ┴─ the holder of the ──┴─ follow Solana
                lease, one process     commands, parity

Correctness does not hang on the lease: two workers collide on the versions of messages and on the head of the log.
What chains show is written into the inbox in every process, by whoever reads the chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog
from solders.hash import Hash
from solders.pubkey import Pubkey

from bridge.meters.mirroring import Mirroring
from bridge.minting.lease import Lease, Lost, StoredLease
from bridge.mirror.automatic import mirroring
from bridge.mirror.book import Book
from bridge.mirror.books.accounting import Accountant
from bridge.mirror.books.limits import Limits
from bridge.mirror.custody import custody_owner, open_custody
from bridge.mirror.from_bsv.source import BsvSource
from bridge.mirror.from_solana.arrivals import Arrivals
from bridge.mirror.from_solana.source import SolanaSource
from bridge.mirror.ground import Asset, MirrorGround
from bridge.mirror.lane import Lane
from bridge.mirror.operators.commands import Desk
from bridge.mirror.operators.operating import Operating
from bridge.mirror.parity.parity import LookAgain, Parity
from bridge.mirror.pauses import Pauses
from bridge.mirror.provenance.drawing import Lots
from bridge.mirror.provenance.fitness import Fitness
from bridge.mirror.receipts.writing import ReceiptWriter
from bridge.mirror.states import Direction
from bridge.mirror.to_bsv.destination import BsvDestination
from bridge.mirror.to_solana.destination import SolanaDestination
from bridge.programs.keys import Signer
from bridge.programs.mode import MintMode
from bridge.solana.rpc import SolanaRpc
from bridge.watching.applying import OnFinal
from bridge.watching.follower import Role, Watched
from config.errors import ErrorCode, MetawattError, Unavailable
from config.settings import Settings
from energytag.registry import Registry
from overlay.clock import NowMs
from overlay.engine import Engine
from store.port import Conflict, Store

LEASE: Final = "mirror"
TERM_MS: Final = 6_000
"""Its holder renews it several times in that time; who takes over waits no longer than that."""
_LONGEST_PAUSE_SECS: Final = 30.0
_LOOK_BACK_SLOTS: Final = 512
"""Before the slot at which parity was exact last: what was kept back may be a little older."""
_FOLLOW_SECS: Final = 0.25

Replay: TypeAlias = Callable[[int], Awaitable[object]]

log = structlog.get_logger("metawatt.mirror")


@dataclass(frozen=True, slots=True)
class Joining:
    """What the event processor is to watch beside the mint, and whom it tells of final transactions."""

    watched: Sequence[Watched]
    on_final: OnFinal


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a mirror that is connected."""

    ground: MirrorGround
    source: SolanaSource
    lanes: Sequence[Lane]
    bsv: BsvDestination
    solana: SolanaDestination
    operating: Operating
    parity: Parity


class Mirror:
    """One process's mirror. The `primary` works; in the node's other processes the same is asked for, and seen.

    `trouble` says why it is not connected, None once it is. `replay` has the event processor read Solana's history
    once more, None while there is none. `lease` is for tests.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        engine: Engine,
        registry: Registry,
        signers: Sequence[Signer],
        witnesses: Sequence[SolanaRpc],
        now_ms: NowMs,
        *,
        primary: bool,
        has_faucet: bool = False,
        lease: Lease | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.pauses = Pauses(store)
        self.limits = Limits(store, settings.bridge, now_ms)
        self.desk = Desk(store, now_ms)
        self.trouble: str | None = "Solana was not asked yet"
        self.replay: Replay | None = None
        self._engine = engine
        self._registry = registry
        self._signers = tuple(signers)
        self._witnesses = tuple(witnesses)
        self._now_ms = now_ms
        self._primary = primary
        self._has_faucet = has_faucet
        self._lease = lease or StoredLease(store, now_ms, name=LEASE, term_ms=TERM_MS)
        self._parts: Parts | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def identity(self) -> bytes:
        """The bridge's identity key on BSV, 33 B."""
        return self._registry.ground.keyring.identity

    @property
    def payer(self) -> Pubkey:
        """The bridge's key on Solana, which pays for what it sends."""
        return self._signers[0].public

    @property
    def custody_wallet(self) -> Pubkey:
        """The wallet on Solana that has custody; known before Solana answers."""
        return custody_owner(self.settings, self._signers)

    @property
    def mirroring(self) -> Mirroring:
        """Whether meters may be mirrored, and where their readings are minted to."""
        return mirroring(self.settings, self.custody_wallet)

    @property
    def asset(self) -> Asset | None:
        """What is mirrored; None until Solana has answered."""
        return None if self._parts is None else self._parts.ground.asset

    @property
    def parts(self) -> Parts:
        """Raises `Unavailable` until Solana has answered."""
        if self._parts is None:
            raise Unavailable(f"the bridge is not connected: {self.trouble}", ErrorCode.SOLANA_UNAVAILABLE)
        return self._parts

    @property
    def parity(self) -> Parity:
        """Raises `Unavailable` until Solana has answered."""
        return self.parts.parity

    # Life

    async def connect(self, rpc: SolanaRpc, mode: MintMode) -> Joining | None:
        """Build it for a cluster and a mint that were checked, and begin to work; None when they cannot be
        mirrored, which is logged and told as `trouble`. Raises `Unavailable` while a chain does not answer."""
        try:
            ground = await self._ground(rpc, await rpc.genesis_hash(), mode)
        except Unavailable:
            raise
        except MetawattError as error:
            self.trouble = error.message
            log.error("nothing is mirrored", code=error.code, reason=error.message)
            return None
        self._parts = _parts(ground, self.pauses, self._look_again)
        self.trouble = None
        if self._primary:
            self._begin(self._parts)
        log.info("the bridge is connected", custody=str(ground.asset.custody), mode=ground.asset.mode)
        arrivals = Arrivals(ground.asset, self.store, self._now_ms)
        return Joining([Watched("custody", ground.asset.custody, Role.CUSTODY)], arrivals.on_final)

    async def _ground(self, rpc: SolanaRpc, genesis: Hash, mode: MintMode) -> MirrorGround:
        asset = await open_custody(
            self.store, rpc, genesis, mode, self._signers, self.settings, has_faucet=self._has_faucet
        )
        return MirrorGround(
            store=self.store,
            book=Book(self.store, self._lease, self._now_ms),
            settings=self.settings,
            now_ms=self._now_ms,
            engine=self._engine,
            registry=self._registry,
            rpc=rpc,
            witnesses=self._witnesses,
            asset=asset,
            signers=self._signers,
            bsv_genesis=await self._bsv_genesis(),
            has_faucet=self._has_faucet,
        )

    async def _bsv_genesis(self) -> bytes:
        headers = self._engine.headers
        await headers.ensure([0])
        genesis = headers.hash_at(0)
        if genesis is None:
            raise Unavailable("the headers service does not tell block 0", ErrorCode.CHAIN_UNAVAILABLE)
        return genesis

    async def _look_again(self, from_slot: int) -> None:
        """Solana's history once more: deposits that an endpoint kept back come in late, and none comes twice."""
        if self.replay is not None:
            log.warning("Solana's history is read once more", from_slot=max(0, from_slot - _LOOK_BACK_SLOTS))
            await self.replay(max(0, from_slot - _LOOK_BACK_SLOTS))

    async def stop(self) -> None:
        """End the work wherever it is; it is gone on with by whoever starts next."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._lease.release()
        for witness in self._witnesses:
            await witness.close()

    # Work

    def _begin(self, parts: Parts) -> None:
        poll_secs, parity_secs = self.settings.bridge.poll_secs, self.settings.bridge.parity_secs
        works: list[tuple[str, Callable[[], Awaitable[int]], float]] = [
            *((f"lane {lane.direction}", lane.forward, poll_secs) for lane in parts.lanes),
            *((f"lane {lane.direction}, its end", lane.end, poll_secs) for lane in parts.lanes),
            ("follow BSV", parts.bsv.follow, _FOLLOW_SECS),
            ("follow Solana", parts.solana.follow, _FOLLOW_SECS),
            ("commands", parts.operating.round, poll_secs),
            ("parity", parts.parity.watch, parity_secs),
        ]
        self._tasks = [
            asyncio.create_task(self._loop(name, work, pause_secs), name=f"mirror: {name}")
            for name, work, pause_secs in works
        ]

    async def _loop(self, name: str, work: Callable[[], Awaitable[int]], pause_secs: float) -> None:
        put_off_secs = pause_secs
        while True:
            moved = await self._safely(name, work, put_off_secs > pause_secs)
            if moved is None:
                put_off_secs = min(2 * put_off_secs, _LONGEST_PAUSE_SECS)
                await asyncio.sleep(put_off_secs)
                continue
            put_off_secs = pause_secs
            await asyncio.sleep(0 if moved and pause_secs < 1 else pause_secs)

    async def _safely(self, name: str, work: Callable[[], Awaitable[int]], is_again: bool) -> int | None:
        """A round that does not raise: how many messages it dealt with, None when it is to be put off; `is_again`
        says that the one before was."""
        try:
            return await work() if await self._lease.hold() else 0
        except Lost:
            log.warning("another process mirrors now", work=name)
            return 0
        except Conflict:
            log.info("overtaken", work=name)
            return 0
        except Unavailable as error:
            # Once is no news: a start takes a moment, and so does a chain.
            tell = log.warning if is_again else log.info
            tell("put off", work=name, reason=error.message)
        except MetawattError as error:
            log.error("failed", work=name, code=error.code, reason=error.message)
        except Exception:
            log.exception("failed", work=name)
        return None


def _parts(ground: MirrorGround, pauses: Pauses, look_again: LookAgain) -> Parts:
    provenance = Lots(ground, Fitness(ground).faults_of)
    accountant = Accountant(ground, provenance, pauses)
    receipts = ReceiptWriter(ground)
    bsv = BsvDestination(ground, provenance, accountant, receipts)
    solana = SolanaDestination(ground, accountant, receipts)
    source, store, book = SolanaSource(ground), ground.store, ground.book
    lanes = (
        Lane(Direction.IN, store, book, pauses, source, accountant, bsv, solana, bsv),
        Lane(Direction.OUT, store, book, pauses, BsvSource(ground), accountant, solana, bsv, bsv),
    )
    return Parts(
        ground, source, lanes, bsv, solana, Operating(ground, accountant, pauses), Parity(ground, look_again)
    )
