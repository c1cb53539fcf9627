"""The queue: actions in order, planned, packed, signed, admitted, each exactly once.

    received ─ plan ─ pack ─ compose ─ engine.submit ─ resolved
                 └ rejected                  └ one commit: admission, the plan's writes, the action's state

What follows from an action is committed together with the admission of its transaction, so that a crash leaves it
either undone, and it is planned anew, or done. An action that takes several transactions is decided first (its memo
and numbers are committed), and each transaction then records which pieces it did; after a crash the rest is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import structlog

from config.errors import BadRequest, Busy, ErrorCode, Forbidden, Internal, MetawattError, NotFound, Unavailable
from energytag.actions import Action, Kind
from energytag.ground import RegistryGround
from energytag.intake import Intake
from energytag.measure import RegistryMeasures
from energytag.packing import Planned, Run, pack
from energytag.plan import Handler, Handlers, Made, Piece, Plan, Scene
from energytag.records import ACTION_PARTS, ACTIONS
from energytag.sending import Sender
from energytag.signature_requests import requests_for
from overlay.admission import AlongsideConflict
from overlay.envelope import parse_envelope
from store.pages import every
from store.port import Conflict, Delete, Document, Find, Insert, Patch, Write

MOST_OUTPUTS_A_ROUND: Final = 2000
MOST_TOPICS: Final = 32
TRANSACTIONS_AT_ONCE: Final = 4
"""Enough to share flushes; few enough that topics still remember what others have read of a transaction."""
_PAUSE_SECS: Final = 1.0
_ATTEMPTS: Final = 5
_OVERTAKEN: Final = (ErrorCode.ANCESTOR_MISSING, ErrorCode.DOUBLE_SPEND)
_REFUSALS: Final = (BadRequest, NotFound, Forbidden)

log = structlog.get_logger("metawatt.registry")


@dataclass(frozen=True, slots=True)
class Outcome:
    """An action as far as it has come, and the tokens that this process made for it."""

    action: Action
    made: Sequence[Made] = ()


class Queue:
    """The worker of one store's actions: `run` is one task, in one process."""

    def __init__(self, ground: RegistryGround, handlers: Handlers, sender: Sender, intake: Intake) -> None:
        self._ground = ground
        self._store = ground.store
        self._handlers = handlers
        self._sender = sender
        self._intake = intake
        self.measures = RegistryMeasures()
        self._solo: set[str] = set()
        self._attempts: dict[str, int] = {}
        self._outcomes: dict[str, asyncio.Future[Outcome]] = {}

    # Coming in

    def outcome(self, action_id: str) -> asyncio.Future[Outcome]:
        """What will become of an action that is in this process's queue."""
        future = self._outcomes.get(action_id)
        if future is None:
            future = self._outcomes[action_id] = asyncio.get_running_loop().create_future()
        return future

    def handler(self, kind: Kind) -> Handler:
        return self._handlers[kind]

    # The worker

    async def run(self) -> None:
        """Work off the queue until cancelled."""
        while True:
            if not self._intake.waiting:
                await self._intake.wait()
            if self._intake.is_time_to_look:
                await self._safe_look()
            if self._intake.waiting and not await self._safe_round():
                await self._safe_catch_up()
                await asyncio.sleep(_PAUSE_SECS)

    async def _safe_look(self) -> None:
        try:
            await self._intake.look()
        except MetawattError as error:
            log.warning("the queue cannot be read", reason=error.message)

    async def _safe_round(self) -> bool:
        try:
            return await self.round()
        except Unavailable as error:
            log.warning("actions wait", reason=error.message, waiting=len(self._intake.waiting))
        except (Busy, Conflict) as error:
            log.info("actions are tried again", reason=error.message)
        except Exception:
            log.exception("a round of actions failed")
        return False

    async def _safe_catch_up(self) -> None:
        try:
            await self._catch_up()
        except MetawattError as error:
            log.warning("the queue cannot be read", reason=error.message)

    async def _catch_up(self) -> None:
        """Take the next actions as they are stored: a commit that seemed to fail may have come about."""
        waiting = self._intake.waiting
        ids = list(islice(waiting, self._ground.settings.registry.actions_per_round))
        for row in (await self._store.get_many(ACTIONS, ids)).values():
            stored = Action.read(row)
            if stored.is_settled:
                self._done(stored)
            elif stored.action_id in waiting:
                waiting[stored.action_id] = stored

    async def round(self) -> bool:
        """Plan and carry out the next actions; whether anything came of it."""
        scene = Scene(self._store, self._ground.now_ms())
        planned: list[Planned] = []
        outputs = 0
        most = self._ground.settings.registry.actions_per_round
        for action in list(islice(self._intake.waiting.values(), most)):
            alone = action.action_id in self._solo
            handler = self._handlers[action.kind]
            blocked = handler.reads_holdings and action.account_id in scene.touched
            if planned and (alone or blocked or outputs >= MOST_OUTPUTS_A_ROUND):
                break
            plan = await self._plan(action, scene)
            if plan is None:
                continue
            left = await self._left_of(action, plan)
            apart = not plan.pieces or plan.is_private or self._sender.awaits_signature(left)
            if apart and planned:
                break
            if apart and not plan.is_private:
                await self._deal_with(action, plan)
                scene = Scene(self._store, self._ground.now_ms())
                continue
            planned.append(Planned(action, plan, left, action.memo is not None))
            scene.touched |= plan.touches
            outputs += sum(piece.outputs for piece in plan.pieces)
            if alone or plan.is_private:
                break
        if planned:
            await self._carry_out(planned)
        return True

    async def _plan(self, action: Action, scene: Scene) -> Plan | None:
        """The plan; None when the action was rejected instead."""
        try:
            return await self._handlers[action.kind].plan(action, scene)
        except _REFUSALS as error:
            await self._give_up(action, error)
        except (Unavailable, Busy, Conflict):
            raise
        except Exception as error:
            log.exception("an action cannot be planned", action_id=action.action_id, kind=action.kind)
            await self._give_up(action, Internal(f"{type(error).__name__} while planning"))
        return None

    async def _left_of(self, action: Action, plan: Plan) -> list[tuple[int, Piece]]:
        """The pieces that are not done yet, numbered."""
        numbered = list(enumerate(plan.pieces))
        if action.memo is None:
            return numbered
        done: set[int] = set()
        for row in await self._parts(action):
            first = int.from_bytes(row["_id"][16:], "big")
            done.update(range(first, first + row["count"]))
        return [(number, piece) for number, piece in numbered if number not in done]

    async def _parts(self, action: Action) -> list[Document]:
        find = Find(lower=action.prefix + bytes(4), upper=action.prefix + b"\xff" * 4)
        return await every(self._store, ACTION_PARTS, find)

    # Carrying out

    async def _carry_out(self, planned: list[Planned]) -> None:
        limits = self._ground.settings.registry
        runs = pack(planned, self._sender.topics_of, limits.bundles_per_transaction, MOST_TOPICS)
        if len(runs) > 1 and planned[0].plan.is_private:
            await self._give_up(planned[0].action, _beyond_one_transaction(limits.bundles_per_transaction))
            return
        if len(runs) > 1:
            await self._decide(planned)
        turns = asyncio.Semaphore(TRANSACTIONS_AT_ONCE)
        sends = (self._send(run, len(runs) == 1, turns) for run in runs)
        results = await asyncio.gather(*sends, return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if not errors:
            await asyncio.gather(*(self._finish(each) for each in planned if not each.is_whole))
            return
        await self._mend(planned, runs, results)

    async def _decide(self, planned: Sequence[Planned]) -> None:
        """Commit what the actions will do, before the first of several transactions does some of it."""
        writes: list[Write] = []
        for each in planned:
            if each.action.memo is None:
                decided = each.action.decided(each.plan.memo)
                writes += [self._change(each.action, decided), *each.plan.decision]
                each.action = decided
        if writes:
            await self._store.commit(writes)
            self._intake.waiting.update((each.action.action_id, each.action) for each in planned)

    async def _send(self, run: Run, is_only: bool, turns: asyncio.Semaphore) -> None:
        async with turns:
            made = await self._sender.send(run, lambda txid_hex: self._alongside(run, is_only, txid_hex))
        self.measures.sent(run.pieces)
        position = 0
        for share in run.shares:
            count = sum(piece.outputs for piece in share.pieces)
            if share.planned.resolved is not None:
                self._done(share.planned.resolved, made[position : position + count])
            position += count

    def _alongside(self, run: Run, is_only: bool, txid_hex: str) -> list[Write]:
        """What is committed with the admission of a run, besides what its outputs bring."""
        writes: list[Write] = []
        for share in run.shares:
            planned = share.planned
            if is_only and planned.action.memo is None:
                writes += planned.plan.decision
            if planned.is_whole:
                now_ms = self._ground.now_ms()
                planned.resolved = planned.action.resolved(planned.plan.result, (txid_hex,), now_ms)
                writes += [self._change(planned.action, planned.resolved), *planned.plan.writes]
            else:
                key = planned.action.prefix + share.first.to_bytes(4, "big")
                writes.append(Insert(ACTION_PARTS, {"_id": key, "count": len(share.pieces), "txid": txid_hex}))
        return writes

    async def _finish(self, planned: Planned) -> None:
        """Resolve an action all of whose pieces are done."""
        parts = await self._parts(planned.action)
        txids = tuple(dict.fromkeys(row["txid"] for row in parts))
        resolved = planned.action.resolved(planned.plan.result, txids, self._ground.now_ms())
        writes = [self._change(planned.action, resolved), *planned.plan.writes]
        await self._store.commit([*writes, *(_spend(row) for row in parts)])
        self._done(resolved)

    async def _deal_with(self, action: Action, plan: Plan) -> None:
        """An action that needs no transaction of the node's making."""
        try:
            changed = await (self._await_signature(action, plan) if plan.pieces else self._settle(action, plan))
        except (Conflict, AlongsideConflict):
            if self._again(action):
                raise
            await self._reject(action, Busy("others keep changing what this action is about"))
        except (Unavailable, Busy):
            raise
        except Exception as error:
            # The node may be to blame, so it tries again; but not for ever, with all others waiting behind.
            if not isinstance(error, _REFUSALS) and self._again(action):
                raise
            log.warning("an action cannot be carried out", action_id=action.action_id, reason=str(error))
            await self._give_up(action, _as_error(error))
        else:
            self._done(changed)

    async def _settle(self, action: Action, plan: Plan) -> Action:
        """Commit what follows, with the admission of the transaction that is ready, if there is one."""
        txids = () if plan.ready is None else (parse_envelope(plan.ready.beef).subject.txid_hex,)
        resolved = action.resolved(plan.result, txids, self._ground.now_ms())
        writes = [self._change(action, resolved), *plan.decision, *plan.writes]
        if plan.ready is None:
            await self._store.commit(writes)
        else:
            await self._sender.submit_ready(plan.ready, writes)
        return resolved

    async def _reject(self, action: Action, error: MetawattError) -> None:
        rejected = action.rejected(error, self._ground.now_ms())
        await self._store.commit([self._change(action, rejected)])
        self._done(rejected)

    async def _await_signature(self, action: Action, plan: Plan) -> Action:
        """Hand the transaction to the user's wallet: the action goes on when it comes back signed."""
        prepared = await self._sender.prepare(plan)
        waiting = action.decided({**plan.memo, "prepared": prepared})
        asking = await requests_for(self._store, waiting, self._ground.now_ms())
        await self._store.commit([self._change(action, waiting), *asking])
        return waiting

    # After a failure

    async def _mend(self, planned: Sequence[Planned], runs: Sequence[Run], results: Sequence[object]) -> None:
        """Some runs failed. What is transient is tried again; an action that fails alone is rejected, unless
        some of it is done already."""
        for run, result in zip(runs, results, strict=True):
            if not isinstance(result, BaseException):
                continue
            actions = [share.planned.action for share in run.shares]
            if isinstance(result, asyncio.CancelledError | Unavailable | Busy):
                raise result
            log.warning("a transaction was not admitted", reason=str(result), actions=len(actions))
            if _is_overtaken(result) and all(self._again(each) for each in actions):
                continue
            self._solo.update(each.action_id for each in actions)
            if not isinstance(result, Exception):
                raise result
            if len(actions) == 1:
                await self._give_up(actions[0], _as_error(result))
        raise Busy("some transactions were not admitted")

    async def _give_up(self, action: Action, error: MetawattError) -> None:
        """Reject an action that fails by itself; when some of it is done, or may be, set it aside after a few
        attempts, so that it holds up nobody."""
        if action.memo is None:
            await self._reject(action, error)
        elif not self._again(action):
            log.error("an action is set aside", action_id=action.action_id, code=error.code, reason=error.message)
            aside = action.set_aside(error)
            await self._store.commit([self._change(action, aside)])
            self._done(aside)

    async def take_up(self, action: Action) -> None:
        """Go on with an action that was set aside; `Conflict` when it is so no longer."""
        again = action.taken_up()
        expect = {"state": action.state.value, "queued": None}
        await self._store.commit([Patch(ACTIONS, again.action_id, again.progress(), expect=expect)])
        self._intake.enqueue(again)

    def _again(self, action: Action) -> bool:
        """Whether an action that met a conflict is to be tried once more."""
        self._attempts[action.action_id] = self._attempts.get(action.action_id, 0) + 1
        return self._attempts[action.action_id] < _ATTEMPTS

    # Book-keeping

    @staticmethod
    def _change(before: Action, after: Action) -> Write:
        """The action's new state, guarded by its old one: two processes cannot both resolve it."""
        expect = {"state": before.state.value, "queued": 1}
        return Patch(ACTIONS, after.action_id, after.progress(), expect=expect)

    def _done(self, action: Action, made: Sequence[Made] = ()) -> None:
        self._intake.waiting.pop(action.action_id, None)
        self._solo.discard(action.action_id)
        self._attempts.pop(action.action_id, None)
        self.measures.settled(action)
        future = self._outcomes.pop(action.action_id, None)
        if future is not None and not future.done():
            future.set_result(Outcome(action, tuple(made)))


def _is_overtaken(error: BaseException) -> bool:
    """Whether others were faster, or have evicted what was to be spent: planned anew, it may go well."""
    if isinstance(error, AlongsideConflict | Conflict):
        return True
    return isinstance(error, MetawattError) and error.code in _OVERTAKEN


def _spend(part: Document) -> Write:
    """A part that counts; not when its transaction was evicted in this moment."""
    return Delete(ACTION_PARTS, part["_id"], expect={"txid": part["txid"]})


def _as_error(error: object) -> MetawattError:
    return error if isinstance(error, MetawattError) else Internal(f"{type(error).__name__}: {error}"[:500])


def _beyond_one_transaction(most: int) -> BadRequest:
    """Private bundles are published by one transaction, or not at all."""
    message = f"private bundles of one action go in one transaction, which has {most} at most, of few origins"
    return BadRequest(message, ErrorCode.INVALID_FIELD)
