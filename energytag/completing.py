"""Completing: an action goes on with the transaction that a user's wallet has signed for it.

The wallet's transaction comes in through the same door as the registry's own, and the action is resolved in the
commit of its admission. Of two transactions for one action, one finds the action resolved.

A wallet may have submitted its transaction itself, before it came here. It is admitted then, and all that is left
is to resolve the action.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from config.errors import BadRequest, ErrorCode, Internal
from energytag.actions import Action, State
from energytag.compose import lay_out
from energytag.ground import RegistryGround
from energytag.plan import Handler, Made, Move, Plan, Scene
from energytag.queue import Outcome
from energytag.records import ACTIONS
from energytag.sending import Sender
from energytag.signing import Prepared, check_signed
from overlay.admission import AlongsideConflict
from overlay.envelope import Envelope, parse_envelope
from overlay.records import SPENDS
from overlay.steak import Steak
from overlay.transaction import outpoint
from store.port import Conflict, Patch, Write
from topics.names import CERTIFICATES


class NotAwaited(BadRequest):
    """The action does not wait for a wallet's signature."""

    default_code = ErrorCode.SIGNATURE_AWAITED


async def complete(
    ground: RegistryGround, sender: Sender, handler: Handler, action: Action, beef: bytes
) -> Outcome:
    """The action, resolved. Raises `NotAwaited`, `BadRequest(SIGNED_OTHERWISE)`, or what the submission of the
    transaction raises; the action then waits as before. `BadRequest(STATUS_FORBIDS)` when its certificates have
    gone elsewhere: it is rejected."""
    if action.state is State.RESOLVED and _is_repeat(action, beef, ground):
        return Outcome(action)
    if not action.awaits_signature or action.memo is None:
        raise NotAwaited
    envelope = check_signed(Prepared.from_json(action.memo["prepared"]), beef, ground.engine.limits.envelope)
    plan = await handler.plan(action, Scene(ground.store, ground.now_ms()))
    await _check_unspent(plan, envelope, action, ground)
    made = _made(plan, envelope, ground)
    txid_hex = envelope.subject.txid_hex
    resolved = action.resolved(plan.result, (txid_hex,), ground.now_ms())
    writes = [_change(action, resolved), *plan.decision, *plan.writes, *sender.output_writes(plan.pieces, made)]
    moves = sum(isinstance(piece, Move) for piece in plan.pieces)

    def joining(steak: Steak) -> list[Write]:
        if CERTIFICATES not in steak:
            return []
        _check_made(steak, len(made), moves)
        _check_nothing_lost(steak)
        return writes

    topics = sorted(frozenset[str]().union(*map(sender.topics_of, plan.pieces)))
    # After a conflict it is done, by a repeat of this call or with another transaction: the action tells.
    with suppress(AlongsideConflict, Conflict):
        steak = await ground.engine.submit(beef, topics, alongside=joining)
        if (await _stored(action, ground)).awaits_signature:
            _check_made(steak, len(made), moves)
            await ground.store.commit(writes)
    stored = await _stored(action, ground)
    if txid_hex not in stored.txids:
        raise NotAwaited
    return Outcome(stored, made)


async def _stored(action: Action, ground: RegistryGround) -> Action:
    """The action after the admission; it still waits when that was an earlier one, which resolved nothing."""
    document = await ground.store.get(ACTIONS, action.action_id)
    assert document is not None
    return Action.read(document)


def _check_made(steak: Steak, outputs: int, moves: int) -> None:
    """That what was prepared is admitted. Whatever else the wallet moves of its own is its own affair."""
    result = steak.get(CERTIFICATES)
    if result is not None and result.outputs_to_admit[:outputs] == tuple(range(outputs)):
        return
    if result is not None and len(result.coins_to_retain) + len(result.coins_removed) > moves:
        message = "other certificates that the transaction spends spoil those that were prepared"
        raise BadRequest(message, ErrorCode.SIGNED_OTHERWISE)
    raise Internal("the transaction has outputs that the node's own rules refuse")


def _check_nothing_lost(steak: Steak) -> None:
    if steak[CERTIFICATES].coins_removed:
        raise BadRequest("the transaction would lose a certificate", ErrorCode.SIGNED_OTHERWISE)


def _is_repeat(action: Action, beef: bytes, ground: RegistryGround) -> bool:
    """Whether this is the transaction that resolved the action: a repeat."""
    return parse_envelope(beef, ground.engine.limits.envelope).subject.txid_hex in action.txids


async def _check_unspent(plan: Plan, envelope: Envelope, action: Action, ground: RegistryGround) -> None:
    """Reject an action whose certificates were moved by another transaction meanwhile."""
    coins = [piece.holding.outpoint for piece in plan.pieces if isinstance(piece, Move)]
    spends = await ground.store.get_many(SPENDS, list(coins))
    if all(spend["txid"] == envelope.subject.txid for spend in spends.values()):
        return
    error = BadRequest("the certificates were moved by another transaction meanwhile", ErrorCode.STATUS_FORBIDS)
    await ground.store.commit([_change(action, action.rejected(error, ground.now_ms()))])
    raise error


def _made(plan: Plan, envelope: Envelope, ground: RegistryGround) -> list[Made]:
    subject = envelope.subject
    made = lay_out(plan.pieces, subject.inputs[0].outpoint, ground.keyring)
    return [replace(each, outpoint=outpoint(subject.txid, index)) for index, each in enumerate(made)]


def _change(before: Action, after: Action) -> Write:
    expect = {"state": before.state.value, "queued": None}
    return Patch(ACTIONS, after.action_id, after.progress(), expect=expect)
