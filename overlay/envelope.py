"""Envelopes: what a wallet submits, parsed once and bounded (BRC-62 BEEF V1, BRC-96 V2, BRC-95 Atomic).

The parser is iterative, allocates no more than a small multiple of the bytes that it is given, and takes
nothing on trust: counts, ends and references are checked, repeats are refused. It proves nothing yet:
that is `overlay/verify.py`'s part.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from config.errors import BadRequest, ErrorCode
from overlay.merkle import Bump
from overlay.transaction import Transaction, malformed, parse_at, read_count

BEEF_V1: Final = b"\x01\x00\xbe\xef"
BEEF_V2: Final = b"\x02\x00\xbe\xef"
ATOMIC: Final = b"\x01\x01\x01\x01"

_RAW, _RAW_WITH_BUMP, _TXID_ONLY = 0, 1, 2


@dataclass(frozen=True, slots=True)
class EnvelopeLimits:
    """Bounds on one envelope; `config.settings.LimitSettings` says what they are for."""

    transactions: int = 2000
    bumps: int = 1000
    outputs: int = 25_000
    bump_bytes: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Member:
    """A transaction of an envelope, with its Merkle path when it is said to be mined. One that `is_kept` is in
    the node's store, and so was verified before, with all that it stands on."""

    transaction: Transaction
    bump: Bump | None = None
    is_kept: bool = False

    @property
    def stands(self) -> bool:
        """Whether it needs no ancestors to vouch for it."""
        return self.is_kept or self.bump is not None


@dataclass(slots=True)
class Envelope:
    """The subject, and every transaction that came with it by txid (internal order). The order of
    `members` is the order of arrival; parents need not come first."""

    subject: Transaction
    members: dict[bytes, Member] = field(default_factory=dict)
    _ancestry: list[Member] | None = field(default=None, repr=False, compare=False)

    @property
    def subject_bump(self) -> Bump | None:
        return self.members[self.subject.txid].bump

    def ancestry(self) -> list[Member]:
        """The subject and those members that it needs, down to proven and kept ones; parents first, the subject
        last.

        Members that the subject does not descend from are left out: nobody vouches for them.
        """
        if self._ancestry is None:
            self._ancestry = self._order()
        return self._ancestry

    def supply(self, members: Iterable[Member]) -> None:
        """Add members that did not come along."""
        for member in members:
            self.members.setdefault(member.transaction.txid, member)
        self._ancestry = None

    def forget_kept(self) -> None:
        """Leave out again what did not come along: it may have been evicted since it was read."""
        own = self.subject.txid
        for txid in [txid for txid, member in self.members.items() if member.is_kept and txid != own]:
            del self.members[txid]
        self._ancestry = None

    def _order(self) -> list[Member]:
        order: list[Member] = []
        done: set[bytes] = set()
        stack: list[tuple[bytes, bool]] = [(self.subject.txid, False)]
        while stack:
            txid, expanded = stack.pop()
            member = self.members.get(txid)
            if member is None:
                continue
            if expanded:
                order.append(member)
                continue
            if txid in done:
                continue
            done.add(txid)
            stack.append((txid, True))
            if self.is_open(member):
                stack.extend((i.source_txid, False) for i in member.transaction.inputs if i.source_txid not in done)
        return order

    def is_open(self, member: Member) -> bool:
        """Whether what it spends from must be known: the subject's, also when it is kept."""
        return not member.stands or (member.bump is None and member.transaction.txid == self.subject.txid)

    def missing(self) -> set[bytes]:
        """Txids that unproven members of the ancestry spend from and that did not come along."""
        return {
            spent.source_txid
            for member in self.ancestry()
            if self.is_open(member)
            for spent in member.transaction.inputs
            if spent.source_txid not in self.members
        }


def parse_envelope(data: bytes, limits: EnvelopeLimits | None = None) -> Envelope:
    """Parse one BEEF of any of the three forms.

    The subject is the one that an Atomic BEEF names, else the last transaction. Raises `BadRequest` with
    ENVELOPE_MALFORMED, ENVELOPE_TOO_LARGE, SUBJECT_MISSING, MERKLE_PATH_INVALID, or as `parse_at` does.
    """
    try:
        return _parse(data, limits or EnvelopeLimits())
    except (IndexError, struct.error) as error:
        raise malformed("the BEEF ends too early") from error


def _parse(data: bytes, limits: EnvelopeLimits) -> Envelope:
    named: bytes | None = None
    position = 0
    if data[:4] == ATOMIC:
        named, position = data[4:36], 36
    version = data[position : position + 4]
    if version not in (BEEF_V1, BEEF_V2):
        number = int.from_bytes(version, "little")
        raise malformed(f"Serialized BEEF must start with 4022206465 or 4022206466 but starts with {number}")
    bumps, position = _read_bumps(data, position + 4, limits)
    members, last, position = _read_members(data, position, version == BEEF_V2, bumps, limits)
    if position != len(data):
        raise malformed("bytes follow the BEEF")
    subject = named or last
    if subject is None or subject not in members:
        raise BadRequest("the BEEF does not contain its subject", ErrorCode.SUBJECT_MISSING)
    return Envelope(members[subject].transaction, members)


def _read_bumps(data: bytes, position: int, limits: EnvelopeLimits) -> tuple[list[Bump], int]:
    count, position = read_count(data, position)
    if count > limits.bumps:
        raise _too_large(f"a BEEF may carry {limits.bumps} Merkle paths")
    bumps = []
    end = position + limits.bump_bytes
    for _ in range(count):
        bump, position = Bump.parse(data, position)
        if position > end:
            raise _too_large(f"the Merkle paths of a BEEF may have {limits.bump_bytes} bytes")
        bumps.append(bump)
    return bumps, position


def _read_members(
    data: bytes, position: int, tagged: bool, bumps: list[Bump], limits: EnvelopeLimits
) -> tuple[dict[bytes, Member], bytes | None, int]:
    count, position = read_count(data, position)
    if count > limits.transactions:
        raise _too_large(f"a BEEF may carry {limits.transactions} transactions")
    members: dict[bytes, Member] = {}
    last: bytes | None = None
    outputs = 0
    for _ in range(count):
        form = _RAW
        bump_index: int | None = None
        if tagged:
            form, position = data[position], position + 1
            if form == _TXID_ONLY:
                last, position = _read_txid(data, position)
                continue
            if form == _RAW_WITH_BUMP:
                bump_index, position = read_count(data, position)
            elif form != _RAW:
                raise malformed(f"a BEEF transaction has no format {form}")
        transaction, position = parse_at(data, position)
        if not tagged:
            flag, position = data[position], position + 1
            if flag == 1:
                bump_index, position = read_count(data, position)
            elif flag != 0:
                raise malformed("a BEEF says of each transaction whether it has a Merkle path: 0 or 1")
        outputs += len(transaction.outputs)
        if outputs > limits.outputs:
            raise _too_large(f"the transactions of a BEEF may have {limits.outputs} outputs")
        if transaction.txid in members:
            raise malformed(f"transaction {transaction.txid_hex} comes twice")
        members[transaction.txid] = Member(transaction, _pick(bumps, bump_index))
        last = transaction.txid
    return members, last, position


def _read_txid(data: bytes, position: int) -> tuple[bytes, int]:
    end = position + 32
    if end > len(data):
        raise malformed("a txid ends too early")
    return data[position:end], end


def _pick(bumps: list[Bump], index: int | None) -> Bump | None:
    if index is None:
        return None
    if index >= len(bumps):
        raise malformed(f"there is no Merkle path {index}")
    return bumps[index]


def _too_large(message: str) -> BadRequest:
    return BadRequest(message, ErrorCode.ENVELOPE_TOO_LARGE)
