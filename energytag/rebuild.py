"""Rebuilding the registry from the overlay and the log of actions.

    log      directory, readings, storage records, recurring actions, what was imported: what each resolved action
             left behind, in the order in which they were resolved
    overlay  numbers and intervals of what was issued, and the basket: how each live token is locked

What is in neither is not touched, and is lost with the store. It must be in a backup, as the log and the overlay's
transactions must:

    energytag_private    bundles that were signed and not published: what follows from them is rebuilt, they are not
    basket_coins         coins for fees: their keys are derived from random key IDs, which stand there alone
    basket_deliveries    what users' wallets have, or wait for, and by which key ID it is unlocked
    energytag_undone     what the network refused, the numbers that it used up, and the bridge's intervals in it
    energytag_logins     challenges that were used; they end within minutes

Some fields come back otherwise than they were, and nothing depends on them: an interval's `action_id` is empty
unless the action is unfinished, the `rev` of an import's numbers is 0, and of two imports in one transaction one
gives its `action_id` to what both have issued.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from uuid import UUID

from basket.keyring import Keyring
from energytag import directory, rebuild_directory, rebuild_measurements, rebuild_storage
from energytag.actions import Action, Kind, State
from energytag.consumption import CONSUMPTION
from energytag.imports import IMPORTED
from energytag.intervals import bridge_row, span_of
from energytag.measurements import MEASUREMENTS
from energytag.rebuild_imports import Imports
from energytag.rebuild_overlay import Number, OverlayPass, Unfinished, commit_all, numbers_of
from energytag.rebuild_recurring import Series
from energytag.records import ACTION_PARTS, ACTIONS, BASKET, DIRECTORY, INTERVALS, NUMBERS, REBUILD_STATE
from energytag.recurring import RECURRING
from energytag.storage_records import COLLECTIONS as STORAGE_RECORDS
from energytag.undone import UNDONE
from lookup.records import CERTIFICATES
from overlay.records import STATE
from store.pages import pages
from store.port import Collection, Delete, Find, Put, Store, Write

Progress: TypeAlias = Callable[[int, int], None]
Log: TypeAlias = Callable[[Action], Sequence[Write]]

_BATCH: Final = 500
_LOGS: Final[Mapping[Kind, Log]] = {
    **dict.fromkeys(directory.HANDLED, rebuild_directory.writes_of),
    **dict.fromkeys(rebuild_measurements.HANDLED, rebuild_measurements.writes_of),
    **dict.fromkeys(rebuild_storage.HANDLED, rebuild_storage.writes_of),
}
LOGGED: Final[tuple[Collection, ...]] = (
    *DIRECTORY,
    MEASUREMENTS,
    CONSUMPTION,
    RECURRING,
    IMPORTED,
    *STORAGE_RECORDS,
)
DERIVED: Final[tuple[Collection, ...]] = (INTERVALS, NUMBERS, BASKET)


async def rebuild(store: Store, keyring: Keyring, progress: Progress | None = None) -> int:
    """Build the registry's collections anew; how many certificate records were read. The index `ls_metawatt` must
    be whole, and no node may be at work. An interrupted rebuild leaves its mark, with which no registry starts; it
    is simply begun again."""
    await store.commit([Put(STATE, {"_id": REBUILD_STATE})])
    steps = _Steps(await store.count(ACTIONS) + await store.count(CERTIFICATES), progress)
    for collection in LOGGED:
        await _empty(store, collection)
    unfinished = await _replay(store, steps)
    numbers = await _claimed(store, unfinished)
    await _use_up(store, numbers)
    for collection in DERIVED:
        await _empty(store, collection)
    work = Unfinished(await _by_transaction(store, unfinished))
    done = await OverlayPass(store, keyring, work, numbers).run(steps.more)
    await _keep_bridged(store)
    await store.commit([Delete(STATE, REBUILD_STATE)])
    return done


@dataclass(slots=True)
class _Steps:
    """Tells how far the work has come."""

    total: int
    progress: Progress | None
    done: int = 0

    def more(self, count: int) -> None:
        self.done += count
        if self.progress is not None:
            self.progress(self.done, max(self.done, self.total))


# The log


@dataclass(slots=True)
class _Log:
    """One walk through the log: when which action was resolved, and what is rebuilt from all actions together."""

    order: list[tuple[int, int, str]] = field(default_factory=list)
    unfinished: dict[str, Action] = field(default_factory=dict)
    series: Series = field(default_factory=Series)
    imports: Imports = field(default_factory=Imports)

    def take(self, actions: Sequence[Action]) -> None:
        self.series.take(actions)
        self.imports.take(actions)
        for action in actions:
            if action.state is State.PENDING:
                self.unfinished[action.action_id] = action
            elif action.kind in _LOGS and action.completed_ms is not None:
                self.order.append((action.completed_ms, action.seq, action.action_id))


async def _replay(store: Store, steps: _Steps) -> dict[str, Action]:
    """Write what actions have left behind; those that are decided and unfinished, by id."""
    log = _Log()
    async for documents in pages(store, ACTIONS, Find("seq")):
        log.take([Action.read(document) for document in documents])
        steps.more(len(documents))
    log.order.sort()
    for start in range(0, len(log.order), _BATCH):
        await _write_again(store, [action_id for *_, action_id in log.order[start : start + _BATCH]])
    log.imports.take_parts(await _parts(store))
    await commit_all(store, [*log.series.writes(), *await log.imports.writes(store)])
    await commit_all(store, await rebuild_storage.decided_writes(store, log.unfinished.values()))
    await commit_all(store, await rebuild_storage.issued_writes(store))
    return log.unfinished


async def _write_again(store: Store, action_ids: Sequence[str]) -> None:
    found = await store.get_many(ACTIONS, list(action_ids))
    actions = [Action.read(found[action_id]) for action_id in action_ids]
    await commit_all(store, [write for action in actions for write in _LOGS[action.kind](action)])


# What is unfinished


async def _parts(store: Store) -> dict[str, set[bytes]]:
    """By action the transactions that did some of what is not all done."""
    txids: dict[str, set[bytes]] = defaultdict(set)
    async for rows in pages(store, ACTION_PARTS):
        for row in rows:
            action_id = str(UUID(bytes=row["_id"][:16]))
            txids[action_id].add(bytes.fromhex(row["txid"])[::-1])
    return txids


async def _by_transaction(store: Store, unfinished: Mapping[str, Action]) -> dict[bytes, list[Action]]:
    found: dict[bytes, list[Action]] = defaultdict(list)
    for action_id, txids in (await _parts(store)).items():
        for txid in txids:
            if action_id in unfinished:
                found[txid].append(unfinished[action_id])
    return found


async def _claimed(store: Store, unfinished: Mapping[str, Action]) -> dict[bytes, Number]:
    """The numbers of series in which unfinished actions have claimed some, as they are kept: how far such a claim
    goes stands nowhere else."""
    series = {key for action in unfinished.values() for key in numbers_of(action)}
    rows = await store.get_many(NUMBERS, list(series))
    return {row["_id"]: Number(row["next"], row["last_end_ms"]) for row in rows.values()}


async def _use_up(store: Store, numbers: dict[bytes, Number]) -> None:
    """Numbers that the network refused are not given out again."""
    async for rows in pages(store, UNDONE):
        for _, key, _, stop, end_ms in (each for row in rows for each in row["issued"]):
            numbers.setdefault(key[:16], Number()).take(stop + 1, end_ms)


async def _keep_bridged(store: Store) -> None:
    """Intervals of which nothing is left but what the network refused are the bridge's all the same."""
    async for rows in pages(store, UNDONE):
        bridged = [each for row in rows for each in row.get("bridged", ())]
        await commit_all(store, [Put(INTERVALS, bridge_row(*span_of(key, end_ms))) for key, end_ms in bridged])


async def _empty(store: Store, collection: Collection) -> None:
    async for documents in pages(store, collection):
        await store.commit([Delete(collection, document["_id"]) for document in documents])
