"""Executing a transaction in a block: what it changed, and the record of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata

from bridge.cluster.envelope import Envelope
from bridge.cluster.executed import Executed, InnerCall, ReturnData
from bridge.cluster.failures import LOAD_ERRORS, error_json, lands
from bridge.cluster.keys import Keys
from bridge.cluster.nonce import durable_nonce, is_nonce, nonce_address, nonce_of, with_nonce
from bridge.cluster.runtime import MEMO_PROGRAMS, Runtime
from bridge.cluster.tokens import holdings


@dataclass(frozen=True, slots=True)
class Place:
    """Where a transaction lands: the block (`blockhash` is its own, `block_time` epoch seconds), and the
    index within it."""

    slot: int
    index: int
    block_time: int
    blockhash: Hash


@dataclass(frozen=True, slots=True)
class Change:
    """An account that a transaction changed."""

    address: Pubkey
    before: Account | None
    after: Account | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`executed` is None when a leader would not have taken the transaction; then nothing changed."""

    error: Any
    executed: Executed | None
    changes: tuple[Change, ...] = ()


def execute(runtime: Runtime, envelope: Envelope, keys: Keys, place: Place) -> Outcome:
    """Execute on the accounts as they are now."""
    before = [runtime.account(key) for key in keys.all]
    pre_tokens = holdings(before, runtime.account)
    result = runtime.execute(envelope.transaction)
    error = error_json(result.err()) if isinstance(result, FailedTransactionMetadata) else None
    if not lands(error):
        return Outcome(error, None)
    meta = result.meta() if isinstance(result, FailedTransactionMetadata) else result
    _settle(runtime, envelope, keys, error, meta.fee())
    after = _afterwards(runtime, keys, before, place.blockhash)
    changes = tuple(
        Change(keys.all[index], before[index], after[index])
        for index in keys.writable
        if before[index] != after[index]
    )
    executed = Executed(
        signature=envelope.signature,
        slot=place.slot,
        index=place.index,
        block_time=place.block_time,
        raw=envelope.raw,
        error=error,
        keys=keys.all,
        loaded_writable=keys.loaded_writable,
        loaded_readonly=keys.loaded_readonly,
        logs=tuple(meta.logs()),
        inner=inner_calls(meta),
        fee=meta.fee(),
        compute_units=meta.compute_units_consumed(),
        pre_lamports=_lamports(before),
        post_lamports=_lamports(after),
        pre_tokens=pre_tokens,
        post_tokens=holdings(after, runtime.account),
        return_data=return_data(meta),
        memo=_memo(envelope, keys),
        changed=tuple(change.address for change in changes),
    )
    return Outcome(error, executed, changes)


def _settle(runtime: Runtime, envelope: Envelope, keys: Keys, error: Any, fee: int) -> None:
    """What a failed transaction changes beside what LiteSVM does: the fee of one whose programs could not be
    loaded, and a durable nonce, which is used up."""
    if error is None:
        return
    payer = runtime.account(keys.all[0])
    if isinstance(error, str) and error in LOAD_ERRORS and payer is not None:
        runtime.put(keys.all[0], _paid(payer, fee))
    _use_up_nonce(runtime, envelope, keys)


def _use_up_nonce(runtime: Runtime, envelope: Envelope, keys: Keys) -> None:
    address = nonce_address(envelope.transaction, keys.all)
    account = None if address is None else runtime.account(address)
    if address is None or account is None or not is_nonce(account):
        return
    if nonce_of(account) == envelope.transaction.message.recent_blockhash:
        runtime.put(address, with_nonce(account, Hash.default()))


def _paid(payer: Account, fee: int) -> Account:
    return Account(payer.lamports - fee, payer.data, payer.owner, payer.executable, payer.rent_epoch)


def _afterwards(
    runtime: Runtime, keys: Keys, before: Sequence[Account | None], blockhash: Hash
) -> list[Account | None]:
    """The accounts after a transaction; a nonce that changed becomes the one of this block."""
    after = list(before)
    for index in keys.writable:
        address, account = keys.all[index], runtime.account(keys.all[index])
        if account is not None and is_nonce(account) and _new_nonce(before[index], account):
            account = with_nonce(account, durable_nonce(blockhash))
            runtime.put(address, account)
        after[index] = account
    return after


def _new_nonce(before: Account | None, after: Account) -> bool:
    return before is None or not is_nonce(before) or nonce_of(before) != nonce_of(after)


def _lamports(accounts: Sequence[Account | None]) -> tuple[int, ...]:
    return tuple(0 if account is None else account.lamports for account in accounts)


def inner_calls(meta: TransactionMetadata) -> tuple[tuple[int, tuple[InnerCall, ...]], ...]:
    """What each outer instruction called, of those that called any."""
    groups = enumerate(meta.inner_instructions())
    return tuple((index, tuple(_inner_call(each) for each in group)) for index, group in groups if group)


def _inner_call(inner: Any) -> InnerCall:
    instruction = inner.instruction()
    return InnerCall(
        instruction.program_id_index, bytes(instruction.accounts), instruction.data, inner.stack_height()
    )


def return_data(meta: TransactionMetadata) -> ReturnData | None:
    """What the last program returned; None when it returned nothing."""
    returned = meta.return_data()
    return ReturnData(returned.program_id, returned.data) if returned.data else None


def _memo(envelope: Envelope, keys: Keys) -> str | None:
    """The memos of the outer instructions, as getSignaturesForAddress shows them: `[length] text; …`."""
    if not any(key in MEMO_PROGRAMS for key in keys.all):
        return None
    memos = [
        _memo_text(each.data)
        for each in envelope.transaction.message.instructions
        if keys.all[each.program_id_index] in MEMO_PROGRAMS
    ]
    return "; ".join(memos) or None


def _memo_text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "(unparseable)"
    return f"[{len(data)}] {text}"
