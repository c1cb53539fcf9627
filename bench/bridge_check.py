"""What a bridge campaign left behind, judged from the chains alone: each crossing once, and every Wh live on one
chain.

Two questions. *So far*, asked again and again while the storm goes on: is anything issued without a deposit, issued
or released twice, released without a lock, or to whom it was not meant? BSV is read before Solana and after it, so
that whatever must have come first was seen. *In the end*, when all is at rest: is each crossing finished or given
back, and is custody what lives on BSV and what waits, to the base unit?
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from base58 import b58encode
from solders.pubkey import Pubkey

from bench.bridge_chains import (
    UNITS_A_WH,
    Bsv,
    Certificate,
    Deposit,
    Payment,
    Solana,
    Terms,
    exit_id,
    refund_id,
    token_account,
)
from bench.chain_reader import MEMO_PROGRAM

_MOST_TOLD: Final = 10
ENDS: Final = frozenset({"RECEIPTED", "REFUNDED", "HELD"})


@dataclass(frozen=True, slots=True)
class Booked:
    """What the bridge's own store says of a message: its state, and the code that it is held for."""

    state: str
    code: str | None


@dataclass(slots=True)
class Verdict:
    """Counts, and the first faults of each kind. `steps` is how often the chains were looked at so far."""

    steps: int = 0
    deposits: int = 0
    issued: int = 0
    locks: int = 0
    released: int = 0
    refunded_in: int = 0
    refunded_out: int = 0
    held: int = 0
    custody_units: int = 0
    live_wh: int = 0
    waiting_units: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    holds: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        return not self.kinds

    def fault(self, kind: str, text: str) -> None:
        self.kinds[kind] += 1
        if len(self.faults) < _MOST_TOLD or self.kinds[kind] == 1:
            self.faults.append(f"{kind}: {text}")


def release_key(terms: Terms, message: bytes, lock: Certificate) -> str:
    """By what a release is known: its marker, or what its memo names."""
    if terms.has_markers:
        return marker_address(terms, message)
    return f"{lock.outpoint[:32][::-1].hex()}.{int.from_bytes(lock.outpoint[32:], 'little')}"


def refund_key(terms: Terms, message: bytes) -> str:
    """By what a refund is known."""
    return marker_address(terms, refund_id(message)) if terms.has_markers else b58encode(message).decode()


def marker_address(terms: Terms, crossing: bytes) -> str:
    """Where the marker of a crossing is; the rule of the bridge's contract."""
    digest = sha256(
        b"gwx1 crossing" + terms.solana_genesis + bytes(Pubkey.from_string(terms.mint)) + crossing
    ).digest()
    seed = b58encode(digest[:16]).decode()
    base, owner = Pubkey.from_string(terms.base), Pubkey.from_string(MEMO_PROGRAM)
    return str(Pubkey.create_with_seed(base, seed, owner))


def so_far(verdict: Verdict, terms: Terms, before: Bsv, solana: Solana, after: Bsv) -> None:
    """Nothing may ever be wrong, in whatever order things are on their way."""
    verdict.steps += 1
    _check_issued(verdict, terms, before, solana.deposits)
    _check_paid(verdict, terms, after, solana)


def in_the_end(verdict: Verdict, terms: Terms, bsv: Bsv, solana: Solana, books: Mapping[bytes, Booked]) -> None:
    """At rest: everything is finished, given back, or held with a reason; and the sums are exact."""
    issued = _check_issued(verdict, terms, bsv, solana.deposits)
    paid = _check_paid(verdict, terms, bsv, solana)
    waiting = sum(
        _check_deposit(verdict, terms, each, issued, paid, books.get(each.id)) for each in solana.deposits.values()
    )
    _check_locks(verdict, terms, bsv, paid, books)
    _check_books(verdict, books)
    _check_sum(verdict, terms, bsv, solana, waiting)


# Solana → BSV


def _check_issued(verdict: Verdict, terms: Terms, bsv: Bsv, deposits: Mapping[bytes, Deposit]) -> dict[bytes, int]:
    """Wh issued for each message, by one transaction and of the deposit's amount."""
    found: dict[bytes, list[Certificate]] = defaultdict(list)
    for each in bsv.certificates.values():
        if each.is_issuance and each.origin is not None and each.issuer == terms.identity:
            found[bytes.fromhex(each.origin)].append(each)
    for message, made in found.items():
        deposit = deposits.get(message)
        wh = sum(each.wh for each in made)
        if deposit is None:
            verdict.fault("issued from nothing", f"{wh} Wh name {message.hex()}, of which Solana knows nothing")
        elif len({each.outpoint[:32] for each in made}) > 1:
            verdict.fault("issued twice", f"{message.hex()} in several transactions")
        elif wh * UNITS_A_WH != deposit.units:
            verdict.fault("issued wrong", f"{message.hex()}: {wh} Wh for {deposit.units} units")
    return {message: sum(each.wh for each in made) for message, made in found.items()}


def _check_deposit(
    verdict: Verdict,
    terms: Terms,
    deposit: Deposit,
    issued: Mapping[bytes, int],
    paid: Mapping[str, Sequence[Payment]],
    booked: Booked | None,
) -> int:
    """Issued, refunded or held, just one of these; the units that wait in custody."""
    verdict.deposits += 1
    refunds = paid.get(refund_key(terms, deposit.id), ())
    is_issued = deposit.id in issued
    verdict.issued += is_issued
    verdict.refunded_in += bool(refunds)
    if is_issued and refunds:
        verdict.fault("issued and refunded", deposit.id.hex())
    for each in refunds:
        if (each.destination, each.units) != (deposit.source, deposit.units):
            verdict.fault("refunded wrong", f"{deposit.id.hex()}: {each.units} to {each.destination}")
    if is_issued or refunds:
        return 0
    if booked is None or booked.state != "HELD":
        verdict.fault("lost", f"{deposit.id.hex()} ({deposit.units} units) is {booked}")
    return deposit.units


# BSV → Solana


def locks_of(terms: Terms, bsv: Bsv) -> dict[bytes, Certificate]:
    """Certificates of this bridge that are, or were, locked, by message id."""
    locked = (each for each in bsv.certificates.values() if each.status == "Locked" and each.origin is not None)
    return {exit_id(terms, each): each for each in locked}


def _check_paid(verdict: Verdict, terms: Terms, bsv: Bsv, solana: Solana) -> dict[str, list[Payment]]:
    """Payments by crossing: each for a lock or a refund, once, of its amount, to its address."""
    paid = solana.by_crossing(terms)
    known = {release_key(terms, message, lock): lock for message, lock in locks_of(terms, bsv).items()}
    refunds = {refund_key(terms, message) for message in solana.deposits}
    for key, payments in paid.items():
        if len(payments) > 1:
            verdict.fault("released twice", f"{key}: {len(payments)} payments")
        if key in refunds:
            continue
        lock = known.get(key)
        for each in payments:
            _check_release(verdict, terms, each, lock)
    return paid


def _check_release(verdict: Verdict, terms: Terms, payment: Payment, lock: Certificate | None) -> None:
    if lock is None:
        verdict.fault("released for nothing", f"{payment.signature}: {payment.units} to {payment.destination}")
        return
    if lock.issuer != terms.identity:
        verdict.fault("released for a rogue", f"{payment.signature}: {payment.units} to {payment.destination}")
    account = token_account(lock.exit["address"], terms.mint)
    if (payment.destination, payment.units) != (account, lock.wh * UNITS_A_WH):
        verdict.fault("released wrong", f"{payment.signature}: {payment.units} to {payment.destination}")


def _check_locks(
    verdict: Verdict,
    terms: Terms,
    bsv: Bsv,
    paid: Mapping[str, Sequence[Payment]],
    books: Mapping[bytes, Booked],
) -> None:
    """Released and withdrawn, or active again, or held; just one of these."""
    for message, lock in locks_of(terms, bsv).items():
        verdict.locks += 1
        released = paid.get(release_key(terms, message, lock), ())
        after = {each.status for each in bsv.successors(lock)}
        verdict.released += bool(released)
        verdict.refunded_out += "Active" in after
        if released and after != {"Withdrawn"}:
            verdict.fault("released, not withdrawn", f"{message.hex()}: {sorted(after)}")
        if not released and "Withdrawn" in after:
            verdict.fault("withdrawn, not released", message.hex())
        booked = books.get(message)
        if not released and not after and (booked is None or booked.state != "HELD"):
            verdict.fault("unfinished", f"lock {message.hex()} is {booked}")


# Sums


def _check_sum(verdict: Verdict, terms: Terms, bsv: Bsv, solana: Solana, waiting: int) -> None:
    """Custody is what lives on BSV, and what waits to be given back."""
    live = [
        each
        for each in bsv.certificates.values()
        if each.spent_by is None
        and each.origin is not None
        and each.issuer == terms.identity
        and each.status != "Withdrawn"
    ]
    verdict.custody_units, verdict.live_wh = solana.balance, sum(each.wh for each in live)
    verdict.waiting_units = waiting
    difference = solana.balance - verdict.live_wh * UNITS_A_WH - waiting
    if difference:
        verdict.fault("parity", f"custody has {difference:+} base units against certificates and what waits")


def _check_books(verdict: Verdict, books: Mapping[bytes, Booked]) -> None:
    for message, each in books.items():
        verdict.held += each.state == "HELD"
        if each.code is not None and each.state == "HELD":
            verdict.holds[each.code] += 1
        if each.state not in ENDS | {"SRC_ORPHANED"}:
            verdict.fault("not ended", f"{message.hex()} is {each.state}")
        if each.state == "HELD" and each.code is None:
            verdict.fault("held without a reason", message.hex())
