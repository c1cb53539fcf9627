"""A receipt audited: with nothing but its bytes, and headers that the auditor trusts.

No network, no settings, no database. What can be proven is proven; what only the bridge says is told as such, and
`audited_bsv.py` and `audited_solana.py` say why.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from bridge.mirror.message import MOST_ENTRIES
from bridge.mirror.receipts.audited_bsv import BsvAudit, Trusting, bsv_txids
from bridge.mirror.receipts.audited_solana import SolanaAudit
from bridge.mirror.receipts.findings import Check, Findings, Outcome, overall
from bridge.mirror.receipts.receipt import Receipt, read_receipt
from bridge.mirror.receipts.statement import BsvLeg, LogStep, ReceiptMalformed, SolanaLeg
from bridge.mirror.states import EDGES, ENDED, Direction, Kind, State

_DECIMALS: Final = 9
"""Of a token of which one is a kWh."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an audit of one receipt found. `receipt` is None when the bytes are none."""

    receipt: Receipt | None
    checks: tuple[Check, ...]

    @property
    def outcome(self) -> Outcome:
        """OK when all that can be proven is, UNDECIDED when something is open, FAILED when something is wrong."""
        return overall(self.checks)


def audited(data: bytes, trusting: Trusting) -> Verdict:
    """The verdict on a receipt as it was handed out."""
    findings = Findings()
    try:
        receipt = read_receipt(data)
    except ReceiptMalformed as error:
        findings.failed(error.message)
        return Verdict(None, tuple(findings.checks))
    _stated(receipt, trusting, findings)
    if _is_sound(receipt, findings):
        _legs(receipt, trusting, findings)
    _log(receipt, findings)
    return Verdict(receipt, tuple(findings.checks))


def contradictions(verdicts: Sequence[Verdict]) -> list[Check]:
    """What is wrong with receipts that are each right: two crossings of one event, two payments under one marker,
    or one certificate for two messages. Also the same receipt twice: it proves one crossing."""
    used: dict[str, list[str]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.receipt is not None:
            for use in _uses(verdict.receipt):
                used[use].append(verdict.receipt.statement.message.id.hex())
    return [
        Check(Outcome.FAILED, f"{use} is in several receipts: messages {', '.join(messages)}")
        for use, messages in used.items()
        if len(messages) > 1
    ]


def _uses(receipt: Receipt) -> Iterator[str]:
    """What there can be one receipt about."""
    statement = receipt.statement
    told = statement.told()
    yield f"source event {told['message']['source_event']}"
    if statement.marker is not None:
        yield f"marker {statement.marker.address}"
    if isinstance(statement.destination, BsvLeg):
        for issuance_id, _, _ in statement.destination.certificates:
            yield f"certificate {issuance_id}"


# What is stated


def _stated(receipt: Receipt, trusting: Trusting, findings: Findings) -> None:
    statement = receipt.statement
    bridge, message = statement.bridge.hex(), statement.message
    findings.proven(receipt.is_signed, f"bridge {bridge} signed the receipt")
    if trusting.bridge is None:
        findings.attested(f"{bridge} is the bridge's key")
    else:
        findings.proven(statement.bridge == trusting.bridge, f"{bridge} is the bridge expected")
    findings.proven(
        statement.computed_id() == message.id, f"message {message.id.hex()} is of the parts that are stated"
    )
    stated = {str(leg.signature) for leg in (statement.source, statement.destination) if isinstance(leg, SolanaLeg)}
    findings.proven(
        receipt.solana.keys() <= stated and receipt.bsv.keys() <= set(bsv_txids(receipt)),
        "it holds no other transactions than it speaks of",
    )


def _is_sound(receipt: Receipt, findings: Findings) -> bool:
    """Whether the legs are of the chains that the direction and the outcome call for."""
    statement = receipt.statement
    is_in = statement.message.direction is Direction.IN
    source, destination = (SolanaLeg, BsvLeg) if is_in else (BsvLeg, SolanaLeg)
    if statement.is_refund:
        destination = source
    is_paid = destination is SolanaLeg
    is_sound = (
        statement.outcome in ENDED
        and (statement.message.kind is not Kind.EXIT) is is_in
        and isinstance(statement.source, source)
        and isinstance(statement.destination, destination)
        and (statement.marker is not None) is is_paid
        and (receipt.completion is None or (is_paid and not is_in))
        and (statement.message.kind is Kind.BURN) is (is_in and statement.asset.mode == "burn")
        and (is_in is False or statement.source_asset == str(statement.asset.mint))
        and statement.asset.decimals == _DECIMALS
    )
    told = f"a message of direction {statement.message.direction.value} that ended {statement.outcome.value}"
    return findings.proven(is_sound, f"it is about {told}", f"it does not hold together as {told}")


# Both sides


def _legs(receipt: Receipt, trusting: Trusting, findings: Findings) -> None:
    statement = receipt.statement
    solana, bsv = SolanaAudit(receipt, findings), BsvAudit(receipt, trusting, findings)
    solana.custody()
    if isinstance(statement.source, BsvLeg):
        _out(receipt, statement.source, solana, bsv)
        return
    solana.came(statement.source)
    if isinstance(statement.destination, BsvLeg):
        bsv.issued(statement.destination)
    else:
        solana.paid(statement.destination, statement.marker)


def _out(receipt: Receipt, source: BsvLeg, solana: SolanaAudit, bsv: BsvAudit) -> None:
    statement = receipt.statement
    locked = bsv.locked(source)
    if isinstance(statement.destination, SolanaLeg):
        solana.paid(statement.destination, statement.marker)
        if locked is not None:
            bsv.released_to_chain(locked[0])
            bsv.completed(receipt.completion, *locked)
    elif locked is not None:
        bsv.given_back(statement.destination, *locked)


# The log


def _log(receipt: Receipt, findings: Findings) -> None:
    """That the steps told of are a way from the beginning to the end. That they are in the bridge's log, and its
    log is whole, is for who has the log."""
    steps = receipt.statement.log
    last = "no step" if not steps else steps[-1].after
    findings.proven(
        _is_way(steps) and last == State.DST_FINAL, f"the log tells of {len(steps)} steps, each of them allowed"
    )
    if steps:
        findings.attested(f"they are in entries {steps[0].number} to {steps[-1].number} of the bridge's log")


def _is_way(steps: Sequence[LogStep]) -> bool:
    if not steps:
        return False
    is_whole = len({step.number for step in steps}) < MOST_ENTRIES
    begins = (steps[0].before, steps[0].after) == (None, State.OBSERVED.value)
    return (begins or not is_whole) and all(_follows(one, next_one) for one, next_one in pairwise(steps))


def _follows(one: LogStep, next_one: LogStep) -> bool:
    return (
        one.number <= next_one.number
        and (one.number != next_one.number or one.hash == next_one.hash)
        and one.after == next_one.before
        and _is_edge(one.after, next_one.after)
    )


def _is_edge(before: str, after: str) -> bool:
    try:
        return State(after) in EDGES[State(before)]
    except ValueError:
        return False
