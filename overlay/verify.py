"""Simplified payment verification of an envelope (I4): functions of values, no I/O.

Every unproven transaction of the ancestry is verified once: its inputs exist among the members, none is
spent twice, value is conserved, and each script runs. Every proven one is held against the node's own
header chain. What the SDK's `Transaction.verify` lets pass (inflation, immature coinbases, exponential
diamonds) does not pass here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from config.errors import BadRequest, ErrorCode
from overlay import pushdrop
from overlay.envelope import Envelope, Member
from overlay.merkle import Bump, is_ambiguous_leaf
from overlay.plain import is_plainly_signed
from overlay.sdk import parse_script, run_scripts
from overlay.sighash import ALL_FORKID, Sighasher
from overlay.transaction import Input, Output, Transaction
from overlay.varint import write_varint

_CHECKSIGS = bytes((0xAC, 0xAD, 0xAE, 0xAF))
_LARGEST_PUSH_OPCODE = 75
_PUSHDATA_BYTES = {0x4C: 1, 0x4D: 2, 0x4E: 4}
_OP_IFS = (0x63, 0x64)
_OP_ENDIF, _OP_RETURN = 0x68, 0x6A
_OPCODES = tuple([(opcode, None) for opcode in range(256)])
_P2PKH_BYTES = 25


class Roots(Protocol):
    """What verification needs of the node's header chain, without I/O."""

    @property
    def tip_height(self) -> int: ...

    def root_at(self, height: int) -> bytes | None:
        """The Merkle root (internal order) at a height of the longest chain, None when not known."""
        ...


@dataclass(frozen=True, slots=True)
class VerifyLimits:
    """Bounds on one verification; `inline_*` tell what may run on the event loop."""

    inputs: int = 5000
    script_bytes: int = 500_000
    sigops: int = 10_000
    hashed_bytes: int = 64_000_000
    inline_script_bytes: int = 20_000
    inline_sigops: int = 24
    inline_hashed_bytes: int = 1_000_000
    coinbase_maturity: int = 100


@dataclass(frozen=True, slots=True)
class SpendJob:
    """The scripts of one transaction, ready to run: it, and the output that each input spends."""

    transaction: Transaction
    sources: tuple[Output, ...]


def prepare(envelope: Envelope, roots: Roots, limits: VerifyLimits) -> list[SpendJob]:
    """Verify everything but the scripts; returns the script runs that are left to do.

    Raises `BadRequest` with ANCESTOR_MISSING, MERKLE_PATH_INVALID, MERKLE_ROOT_UNKNOWN,
    COINBASE_IMMATURE, VALUE_NOT_CONSERVED, DOUBLE_SPEND, SCRIPT_TOO_COSTLY or ENVELOPE_TOO_LARGE.
    """
    jobs: list[SpendJob] = []
    spent: set[tuple[bytes, int]] = set()
    inputs = 0
    for member in envelope.ancestry():
        if member.bump is not None:
            check_proof(member, roots)
            continue
        if not envelope.is_open(member):
            continue
        inputs += len(member.transaction.inputs)
        if inputs > limits.inputs:
            raise BadRequest(f"unproven transactions may have {limits.inputs} inputs", ErrorCode.ENVELOPE_TOO_LARGE)
        sources = _sources(member.transaction, envelope, spent, roots, limits)
        _check_value(member.transaction, sources)
        jobs.append(SpendJob(member.transaction, sources))
    _check_cost(jobs, limits)
    return jobs


def check_proof(member: Member, roots: Roots) -> None:
    """Hold a member's Merkle path against the header chain."""
    assert member.bump is not None
    check_path(member.transaction.txid, len(member.transaction.raw), member.bump, roots)


def check_path(txid: bytes, size: int, bump: Bump, roots: Roots) -> None:
    """Hold the Merkle path of a transaction of `size` raw bytes against the header chain. Raises `BadRequest`
    with MERKLE_PATH_INVALID or MERKLE_ROOT_UNKNOWN."""
    name = txid[::-1].hex()
    if is_ambiguous_leaf(size):
        raise _invalid_path(name, "a transaction of 64 bytes cannot be told from a node of the tree")
    try:
        root = bump.root_for(txid)
    except BadRequest as error:
        raise _invalid_path(name, error.message) from error
    known = roots.root_at(bump.height)
    if known is None:
        raise BadRequest(
            f"block {bump.height}, which is said to hold transaction {name}, is not known here",
            ErrorCode.MERKLE_ROOT_UNKNOWN,
        )
    if known != root:
        raise _invalid_path(name, f"it does not lead to the root of block {bump.height}")


def _invalid_path(txid_hex: str, reason: str) -> BadRequest:
    return BadRequest(f"Invalid merkle path for transaction {txid_hex}: {reason}", ErrorCode.MERKLE_PATH_INVALID)


def _sources(
    transaction: Transaction,
    envelope: Envelope,
    spent: set[tuple[bytes, int]],
    roots: Roots,
    limits: VerifyLimits,
) -> tuple[Output, ...]:
    sources = []
    for txid, index, _, _ in transaction.inputs:
        member = envelope.members.get(txid)
        if member is None:
            raise BadRequest(
                f"transaction {txid[::-1].hex()}, which {transaction.txid_hex} spends from, is missing",
                ErrorCode.ANCESTOR_MISSING,
            )
        outputs = member.transaction.outputs
        if index >= len(outputs):
            raise BadRequest(
                f"transaction {txid[::-1].hex()} has no output {index}, which {transaction.txid_hex} spends",
                ErrorCode.ANCESTOR_MISSING,
            )
        if (txid, index) in spent:
            raise BadRequest(f"output {txid[::-1].hex()}.{index} is spent twice", ErrorCode.DOUBLE_SPEND)
        spent.add((txid, index))
        if member.transaction.is_coinbase:
            _check_maturity(member, roots, limits)
        sources.append(outputs[index])
    return tuple(sources)


def _check_maturity(member: Member, roots: Roots, limits: VerifyLimits) -> None:
    """A coinbase can be spent in the block `coinbase_maturity` above its own, so next at tip + 1."""
    if member.bump is None or roots.tip_height + 1 - member.bump.height < limits.coinbase_maturity:
        raise BadRequest(
            f"coinbase {member.transaction.txid_hex} must be {limits.coinbase_maturity} blocks deep to be spent",
            ErrorCode.COINBASE_IMMATURE,
        )


def _check_value(transaction: Transaction, sources: Sequence[Output]) -> None:
    taken = sum([source.satoshis for source in sources])
    given = sum([output.satoshis for output in transaction.outputs])
    if given > taken:
        raise BadRequest(
            f"transaction {transaction.txid_hex} creates {given} satoshis out of {taken}",
            ErrorCode.VALUE_NOT_CONSERVED,
        )


def _check_cost(jobs: Sequence[SpendJob], limits: VerifyLimits) -> None:
    sigops = hashed_bytes = 0
    for job in jobs:
        for spend, source in zip(job.transaction.inputs, job.sources, strict=True):
            if len(spend.unlocking_script) > limits.script_bytes or len(source.script) > limits.script_bytes:
                raise BadRequest(f"a script may have {limits.script_bytes} bytes", ErrorCode.SCRIPT_TOO_COSTLY)
            checks = 1
            if not is_plain(spend, source, limits):
                checks = _count_checksigs(spend.unlocking_script) + _count_checksigs(source.script)
                sigops += checks
            # Each check hashes the transaction that spends, and the script that is spent.
            hashed_bytes += checks * (len(job.transaction.raw) + len(source.script))
    if sigops > limits.sigops:
        raise BadRequest(f"scripts may check {limits.sigops} signatures", ErrorCode.SCRIPT_TOO_COSTLY)
    if hashed_bytes > limits.hashed_bytes:
        raise BadRequest(
            f"signature checks may hash {limits.hashed_bytes} bytes, these {hashed_bytes}",
            ErrorCode.SCRIPT_TOO_COSTLY,
        )


def _count_checksigs(script: bytes) -> int:
    """An upper bound: data bytes that look like the opcode count too."""
    return sum(script.count(opcode) for opcode in _CHECKSIGS)


def runs_inline(jobs: Sequence[SpendJob], limits: VerifyLimits) -> bool:
    """Whether these scripts are so plain and few that they may run on the event loop."""
    if sum(len(job.sources) for job in jobs) > limits.inline_sigops:
        return False
    # Each signature hashes its whole transaction.
    if sum(len(job.sources) * len(job.transaction.raw) for job in jobs) > limits.inline_hashed_bytes:
        return False
    return are_plain(jobs, limits)


def are_plain(jobs: Sequence[SpendJob], limits: VerifyLimits) -> bool:
    """Whether every spend is of a known shape, so that its cost is known."""
    return all(
        is_plain(spend, source, limits)
        for job in jobs
        for spend, source in zip(job.transaction.inputs, job.sources, strict=True)
    )


def is_plain(spend: Input, source: Output, limits: VerifyLimits) -> bool:
    """Whether a spend is of P2PKH or PushDrop, unlocked by short pushes: one signature check, no surprise."""
    unlocking, locking = spend.unlocking_script, source.script
    if len(locking) > limits.inline_script_bytes or not _is_short_pushes(unlocking):
        return False
    if len(locking) == _P2PKH_BYTES:
        return locking[:3] == b"\x76\xa9\x14" and locking[23:] == b"\x88\xac"
    return pushdrop.decode(locking) is not None


def _is_short_pushes(script: bytes) -> bool:
    if len(script) > 150:
        return False
    position = 0
    while position < len(script):
        opcode = script[position]
        if opcode > _LARGEST_PUSH_OPCODE:
            return False
        position += 1 + opcode
    return position == len(script)


def run(job: SpendJob) -> None:
    """Run every script of one transaction; `BadRequest(SCRIPT_INVALID)` when one fails."""
    hasher = Sighasher(job.transaction)
    machine: _Machine | None = None
    for index, (spend, source) in enumerate(zip(job.transaction.inputs, job.sources, strict=True)):
        if is_plainly_signed(hasher, index, spend.unlocking_script, source):
            continue
        machine = machine or _Machine(job.transaction)
        machine.run(index, source)


class _Machine:
    """The SDK's script machine, set up for one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._outputs = [_serialize(output) for output in transaction.outputs]
        self._inputs = [
            (spend.source_txid[::-1].hex(), spend.source_index, b"", 0, spend.sequence, ALL_FORKID)
            for spend in transaction.inputs
        ]
        # It takes the version as the signed number that a miner's node keeps it in.
        self._version = transaction.version - (transaction.version >> 31 << 32)

    def run(self, index: int, source: Output) -> None:
        spend, transaction = self._transaction.inputs[index], self._transaction
        try:
            run_scripts(
                _chunks(spend.unlocking_script),
                _chunks(source.script),
                self._version,
                self._inputs[index][0],
                spend.source_index,
                transaction.lock_time,
                index,
                spend.sequence,
                source.satoshis,
                self._inputs[:index] + self._inputs[index + 1 :],
                self._outputs,
            )
        except (RuntimeError, ValueError, IndexError, OverflowError, TypeError) as error:
            raise _script_fails(transaction, index, str(error)) from error


def _script_fails(transaction: Transaction, index: int, reason: str) -> BadRequest:
    return BadRequest(
        f"the scripts of input {index} of transaction {transaction.txid_hex} fail: {reason}",
        ErrorCode.SCRIPT_INVALID,
    )


def _chunks(script: bytes) -> list[tuple[int, bytes | None]]:
    """The script as the VM takes it; ValueError when a push is cut off, which the native parser would drop and
    run everything else. What is behind a last OP_RETURN never runs, but is signed: it is handed over byte by
    byte, since the VM hashes every push in its shortest form.
    """
    end = _code_end(script)
    chunks: list[tuple[int, bytes | None]] = parse_script(script[:end])
    return chunks + [_OPCODES[byte] for byte in script[end:]]


def _code_end(script: bytes) -> int:
    """Where the code ends: behind the first OP_RETURN that stands in no branch, or with the script."""
    position, size, depth = 0, len(script), 0
    while position < size:
        opcode = script[position]
        position += 1
        if opcode <= _LARGEST_PUSH_OPCODE:
            position += opcode
        elif opcode in _PUSHDATA_BYTES:
            width = _PUSHDATA_BYTES[opcode]
            position += width + int.from_bytes(script[position : position + width], "little")
        elif opcode in _OP_IFS:
            depth += 1
        elif opcode == _OP_ENDIF:
            depth -= 1
        elif opcode == _OP_RETURN and depth == 0:
            return position
    if position != size:
        raise ValueError("a push is cut off")
    return size


def _serialize(output: Output) -> bytes:
    return output.satoshis.to_bytes(8, "little") + write_varint(len(output.script)) + output.script
