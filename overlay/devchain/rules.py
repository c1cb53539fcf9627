"""What a miner demands of a transaction, with ARC's number for each refusal. Functions of values, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from config.errors import BadRequest, ErrorCode
from overlay.builder import FINAL_SEQUENCE, fee_for
from overlay.devchain.report import Refusal
from overlay.transaction import Output, Transaction
from overlay.verify import SpendJob, VerifyLimits
from overlay.wire import parse_sent

MISSING_PARENTS: Final = 460
SCRIPTS: Final = 461
INPUTS: Final = 462
MALFORMED: Final = 463
OUTPUTS: Final = 464
FEES: Final = 465
CONFLICT: Final = 466
TOO_LARGE: Final = 474

_LEAST_BYTES = 61
_DATA_OUTPUT = b"\x00\x6a"
_TIME_LOCK_FROM = 500_000_000
_READING = {ErrorCode.DOUBLE_SPEND: INPUTS, ErrorCode.VALUE_NOT_CONSERVED: OUTPUTS}


@dataclass(frozen=True, slots=True)
class Policy:
    """The miner's policy; `fee_rate` in satoshis for 1000 bytes, `maturity` in blocks."""

    fee_rate: int = 1
    maturity: int = 100
    transaction_bytes: int = 10_000_000
    script_bytes: int = 500_000
    sigops: int = 10_000

    @property
    def verify_limits(self) -> VerifyLimits:
        return VerifyLimits(script_bytes=self.script_bytes, sigops=self.sigops)


@dataclass(frozen=True, slots=True)
class Source:
    """An output that an input spends. `height` is its block's, None while in the pool."""

    output: Output
    height: int | None
    coinbase: bool


def read(data: bytes) -> tuple[Transaction, tuple[Output, ...] | None]:
    """A raw or extended transaction, and the outputs it claims to spend when it is extended."""
    try:
        return parse_sent(data)
    except BadRequest as error:
        raise Refusal(_READING.get(error.code, MALFORMED), error.message) from None


def check_shape(transaction: Transaction, next_height: int, now_secs: int, policy: Policy) -> None:
    """Everything that needs no coins."""
    txid, size = transaction.txid, len(transaction.raw)
    if size > policy.transaction_bytes:
        raise Refusal(TOO_LARGE, f"a transaction may have {policy.transaction_bytes} bytes", txid)
    if size < _LEAST_BYTES:
        raise Refusal(MALFORMED, f"a transaction has {_LEAST_BYTES} bytes at least", txid)
    if transaction.is_coinbase:
        raise Refusal(INPUTS, "coinbases are the miner's own", txid)
    if not is_final(transaction, next_height, now_secs):
        raise Refusal(MALFORMED, "the transaction is not final", txid)
    _check_outputs(transaction)


def is_final(transaction: Transaction, height: int, time_secs: int) -> bool:
    """Whether the lock time (a height, or a time from 500,000,000 on) has passed, or no input minds it."""
    lock_time = transaction.lock_time
    reached = lock_time < (height if lock_time < _TIME_LOCK_FROM else time_secs)
    return reached or all(spent.sequence == FINAL_SEQUENCE for spent in transaction.inputs)


def _check_outputs(transaction: Transaction) -> None:
    for index, output in enumerate(transaction.outputs):
        if output.satoshis == 0 and not output.script.startswith(_DATA_OUTPUT):
            raise Refusal(OUTPUTS, f"output {index} is dust", transaction.txid)


def check_claims(transaction: Transaction, sources: Sequence[Source], claimed: Sequence[Output] | None) -> None:
    """Extended Format tells what is spent; the coins themselves know better."""
    if claimed is not None and tuple(claimed) != tuple(source.output for source in sources):
        raise Refusal(INPUTS, "the outputs spent are not as Extended Format says", transaction.txid)


def check_coins(transaction: Transaction, sources: Sequence[Source], next_height: int, policy: Policy) -> int:
    """Maturity, value and fee; returns the fee in satoshis."""
    for source in sources:
        if source.coinbase and source.height is not None and next_height - source.height < policy.maturity:
            raise Refusal(INPUTS, f"a coinbase is spent before it is {policy.maturity} deep", transaction.txid)
    fee = sum([s.output.satoshis for s in sources]) - sum([o.satoshis for o in transaction.outputs])
    least = fee_for(len(transaction.raw), policy.fee_rate)
    if fee < least:
        raise Refusal(FEES, f"the fee is {fee} satoshis, {least} are the least", transaction.txid)
    return fee


def script_job(transaction: Transaction, sources: Sequence[Source]) -> SpendJob:
    return SpendJob(transaction, tuple(source.output for source in sources))
