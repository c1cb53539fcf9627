"""The event processor: what final transactions did to the mint, the custody account and the programs.

    WebSocket ─ a hint ─┐
    every few seconds ──┴→ history since the cursor → each transaction fetched, decoded → rows, what they mean for
                           readings, and the cursor, in one commit → those who wait are woken

Only final transactions are read, so that no fork takes anything back. The history is read without a gap, or not
at all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.meters.paging import Listed, listed
from bridge.programs.idl import Idl
from bridge.records import CURSORS, MOVEMENTS
from bridge.solana.rpc import SolanaRpc
from bridge.solana.wake import Wake
from bridge.watching.applying import Applier, OnFinal
from bridge.watching.cursor import HistoryGap
from bridge.watching.follower import Follower, Role, Watched
from bridge.watching.replaying import Replays
from bridge.watching.rows import KINDS
from config.errors import BadRequest, ErrorCode, MetawattError, NotFound, Unavailable
from overlay.clock import NowMs
from store.port import Document, Find, Store

POLL_SECS: Final = 2.0

log = structlog.get_logger("metawatt.watching")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one watched address is. `slot` is that of the last transaction applied, `read_slot` the newest final
    slot when its history was last read whole; None before there is one. `gap` says why it is not read on."""

    watched: Watched
    slot: int | None
    signature: Signature | None
    read_slot: int | None
    gap: str | None
    skipped: Sequence[Mapping[str, int]]


class EventProcessor:
    """Follows the addresses in `watched`. `wake` is called when something was applied, and at every hint of the
    WebSocket; `on_final` makes the writes that join the rows of a transaction. `idls` are those of the programs
    whose events are kept as hints, by where they are deployed. `turn` is held from `on_final` to the commit, so
    that nobody else of this process changes meanwhile what its writes build upon.

    `counts`: applied, failed (on the chain), asked_again, gap, rounds by `round_…`, and rows by kind.
    """

    def __init__(
        self,
        store: Store,
        rpc: SolanaRpc,
        ws_url: str | None,
        watched: Sequence[Watched],
        now_ms: NowMs,
        wake: Callable[[], None],
        on_final: OnFinal,
        *,
        idls: Mapping[Pubkey, Idl] | None = None,
        poll_secs: float = POLL_SECS,
        turn: asyncio.Lock | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._store = store
        self._rpc = rpc
        self._now_ms = now_ms
        self._wake_others = wake
        self._poll_secs = poll_secs
        mints = [each.address for each in watched if each.role is Role.MINT]
        accounts = [each.address for each in watched if each.role is Role.CUSTODY]
        applier = Applier(
            store, rpc, mints, frozenset(accounts), idls or {}, on_final, self.counts, turn or asyncio.Lock()
        )
        self._followers = [Follower(store, rpc, each, applier, self.counts) for each in watched]
        self._replays = Replays(store, rpc, self._followers, now_ms)
        # One notice for all that a slot did to an account; of a program's transactions each is told by itself.
        programs = [each.address for each in watched if each.role is Role.PROGRAM]
        self._notices = None if ws_url is None else Wake(ws_url, programs, [*mints, *accounts], self._hinted)
        self._stirred = asyncio.Event()
        # One round at a time: two would apply the same transactions, and only one could move the cursors.
        self._round_lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    # Running

    async def start(self) -> None:
        """Begin to follow; a cluster that does not answer yet is asked again."""
        await self._replays.open()
        self._task = asyncio.create_task(self._follow(), name="event processor")
        if self._notices is not None:
            self._notices.start()

    async def stop(self) -> None:
        if self._notices is not None:
            await self._notices.stop()
        await self._replays.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def wake(self) -> None:
        """Look now, not at the next poll."""
        self._stirred.set()

    async def catch_up(self) -> int:
        """One round: everything final that is not applied yet; how many transactions. Every address has its turn,
        then the first error is raised: `HistoryGap` before Unavailable."""
        errors: list[MetawattError] = []
        count = 0
        async with self._round_lock:
            final_slot = await self._rpc.slot()
            for follower in self._followers:
                try:
                    count += await follower.round(final_slot)
                except MetawattError as error:
                    errors.append(error)
        if count:
            self._wake_others()
        if errors:
            raise next((error for error in errors if isinstance(error, HistoryGap)), errors[0])
        return count

    def _hinted(self) -> None:
        self.wake()
        self._wake_others()

    async def _follow(self) -> None:
        while True:
            self._stirred.clear()
            self.counts[f"round_{await self._round()}"] += 1
            try:
                async with asyncio.timeout(self._poll_secs):
                    await self._stirred.wait()
            except TimeoutError:
                continue

    async def _round(self) -> str:
        """How it ended: done, put_off, failed."""
        known = self.problem
        try:
            await self.catch_up()
        except Unavailable as error:
            log.warning("events put off", reason=error.message)
            return "put_off"
        except MetawattError as error:
            if error.message != known:
                log.error("events stopped", code=error.code, reason=error.message)
            return "failed"
        except Exception:
            log.exception("events failed")
            return "failed"
        return "done"

    # What an operator asks and decides

    @property
    def problem(self) -> str | None:
        """Why an address is not followed any more, for the health of the node; None when all are."""
        return next((each.gap.message for each in self._followers if each.gap is not None), None)

    @property
    def is_listening(self) -> bool:
        """Whether the WebSocket is connected; False where there is none."""
        return self._notices is not None and self._notices.is_connected

    @property
    def read_slot(self) -> int | None:
        """The final slot up to which every address was read; None before there is one."""
        least = min((follower.read_slot for follower in self._followers), default=-1)
        return None if least < 0 else least

    async def standings(self) -> list[Standing]:
        """Where each address is."""
        keys = [str(follower.watched.address) for follower in self._followers]
        stored = await self._store.get_many(CURSORS, keys)
        return [_standing(follower, stored.get(key)) for follower, key in zip(self._followers, keys, strict=True)]

    async def final_slot(self) -> int:
        """The cluster's newest final slot."""
        return await self._rpc.slot()

    async def unexplained(self) -> int:
        """How many transactions are recorded whose instructions do not explain their balances."""
        return await self._store.count(MOVEMENTS, Find("kind", {"kind": "unexplained"}))

    async def movements(self, kind: str | None, limit: int, cursor: str | None = None) -> Listed:
        """Rows, newest first; of one kind, or of all. BadRequest for a kind that there is none of."""
        if kind is None:
            return await listed(self._store, MOVEMENTS, Find(limit=limit, descending=True), cursor)
        if kind not in KINDS:
            raise BadRequest(f"kind must be one of {', '.join(KINDS)}")
        find = Find("kind", {"kind": kind}, limit=limit, descending=True)
        return await listed(self._store, MOVEMENTS, find, cursor)

    async def skip_gap(self, name: str) -> None:
        """Go on with what the cluster has of an address, over its gap: the operator's word that nothing is missed.
        NotFound when no address of that name has a gap."""
        for follower in self._followers:
            if follower.watched.name == name:
                async with self._round_lock:
                    await follower.skip(self._now_ms())
                self.wake()
                return
        raise NotFound(f"No address {name!r} is watched")

    # Replays

    async def begin_replay(self, from_slot: int) -> Document:
        """Start a replay; its job, as `bridge/watching/replaying.py` tells it."""
        return await self._replays.begin(from_slot)

    async def replay(self, from_slot: int) -> Document:
        """A replay to its end; its job, done or failed."""
        job = await self._replays.begin(from_slot)
        await self._replays.wait()
        return job

    async def replays(self) -> list[Document]:
        """The last hundred replays, newest first."""
        return await self._replays.listed()

    async def slot_of(self, signature: Signature) -> int:
        """The slot that a transaction landed in; NotFound when the cluster does not know it."""
        (status,) = await self._rpc.statuses([signature])
        if status is None:
            raise NotFound(f"the Solana cluster knows no transaction {signature}", ErrorCode.NOT_FOUND)
        return status.slot


def _standing(follower: Follower, document: Document | None) -> Standing:
    signature = None if document is None else document["signature"]
    return Standing(
        watched=follower.watched,
        slot=None if document is None else document["slot"],
        signature=None if signature is None else Signature.from_bytes(signature),
        read_slot=None if follower.read_slot < 0 else follower.read_slot,
        gap=None if document is None else document["gap"],
        skipped=[] if document is None else document["skipped"],
    )
