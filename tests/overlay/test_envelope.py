"""BEEF V1, V2 and Atomic: what is read, what is refused and with which code, and who belongs to a subject."""

from __future__ import annotations

from time import process_time

import pytest

from config.errors import BadRequest, ErrorCode
from overlay.envelope import ATOMIC, BEEF_V1, BEEF_V2, EnvelopeLimits, parse_envelope
from overlay.transaction import Transaction
from overlay.varint import write_varint
from tests.overlay.envelopes import Blocks, Member, beef, funding, pay, pay_from

PARENT = funding([5_000, 5_000])
BLOCKS = Blocks()
[MINED] = BLOCKS.mine(PARENT)
BUMP = MINED[1] or b""
CHILD = pay(PARENT, 4_900)
GRANDCHILD = pay(CHILD, 4_800)
FAMILY: list[Member] = [MINED, (CHILD, None), (GRANDCHILD, None)]

V1 = beef(FAMILY)
V2 = beef(FAMILY, 2)
ATOMIC_V1 = beef(FAMILY, 1, GRANDCHILD)
ATOMIC_V2 = beef(FAMILY, 2, GRANDCHILD)
FORMS = {"V1": V1, "V2": V2, "Atomic of V1": ATOMIC_V1, "Atomic of V2": ATOMIC_V2}

MALFORMED = ErrorCode.ENVELOPE_MALFORMED
TOO_LARGE = ErrorCode.ENVELOPE_TOO_LARGE
NO_SUBJECT = ErrorCode.SUBJECT_MISSING
NO_PATH = ErrorCode.MERKLE_PATH_INVALID


def v1(*entries: bytes, bumps: bytes = b"\x01" + BUMP, count: bytes | None = None) -> bytes:
    return BEEF_V1 + bumps + (count or write_varint(len(entries))) + b"".join(entries)


def v2(*entries: bytes, bumps: bytes = b"\x01" + BUMP, count: bytes | None = None) -> bytes:
    return BEEF_V2 + bumps + (count or write_varint(len(entries))) + b"".join(entries)


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS.keys())
def test_every_form_is_read(data: bytes) -> None:
    envelope = parse_envelope(data)
    assert envelope.subject == GRANDCHILD
    assert envelope.subject_bump is None
    assert list(envelope.members) == [PARENT.txid, CHILD.txid, GRANDCHILD.txid]
    proof = envelope.members[PARENT.txid].bump
    assert proof is not None
    assert proof.raw == BUMP
    assert [member.transaction for member in envelope.ancestry()] == [PARENT, CHILD, GRANDCHILD]
    assert envelope.missing() == set()


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS.keys())
def test_cut_off_anywhere_is_refused(data: bytes) -> None:
    codes = set()
    for end in range(len(data)):
        with pytest.raises(BadRequest) as refusal:
            parse_envelope(data[:end])
        codes.add(refusal.value.code)
    assert codes == {MALFORMED, NO_PATH}


PLAIN = b"\x00"
REFUSED = {
    "nothing": (b"", MALFORMED),
    "another magic": (b"\x03" + V1[1:], MALFORMED),
    "a raw transaction": (CHILD.raw, MALFORMED),
    "the magic in the other order": (b"\xef\xbe\x00\x01" + V1[4:], MALFORMED),
    "an Atomic in an Atomic": (ATOMIC + CHILD.txid + ATOMIC_V1, MALFORMED),
    "bytes behind V1": (V1 + b"\x00", MALFORMED),
    "bytes behind V2": (V2 + b"\x00", MALFORMED),
    "bytes behind Atomic": (ATOMIC_V1 + b"\x00", MALFORMED),
    "a BEEF behind a BEEF": (V1 + V1, MALFORMED),
    "a transaction twice, V1": (v1(CHILD.raw + PLAIN, CHILD.raw + PLAIN), MALFORMED),
    "a transaction twice, V2": (v2(PLAIN + CHILD.raw, b"\x01\x00" + CHILD.raw), MALFORMED),
    "a path that is not there, V1": (v1(PARENT.raw + b"\x01\x01"), MALFORMED),
    "a path that is not there, V2": (v2(b"\x01\x01" + PARENT.raw), MALFORMED),
    "a path of none": (v1(PARENT.raw + b"\x01\x00", bumps=b"\x00"), MALFORMED),
    "a path numbered 2^64 - 1": (v1(PARENT.raw + b"\x01" + b"\xff" * 9), MALFORMED),
    "V1's flag 2": (v1(CHILD.raw + b"\x02"), MALFORMED),
    "V2's format 3": (v2(b"\x03" + CHILD.raw), MALFORMED),
    "a count of transactions in 3 bytes": (v1(CHILD.raw + PLAIN, count=b"\xfd\x01\x00"), MALFORMED),
    "more transactions than come": (v1(CHILD.raw + PLAIN, count=b"\x02"), MALFORMED),
    "fewer transactions than come": (v1(CHILD.raw + PLAIN, PARENT.raw + PLAIN, count=b"\x01"), MALFORMED),
    "2^64 - 1 transactions": (v1(count=b"\xff" * 9), TOO_LARGE),
    "2001 transactions": (v1(count=write_varint(2001)), TOO_LARGE),
    "1001 paths": (v1(bumps=write_varint(1001)), TOO_LARGE),
    "a path that is none": (v1(bumps=b"\x01" + bytes(40)), NO_PATH),
    "no transactions": (v1(), NO_SUBJECT),
    "no transactions, V2": (v2(), NO_SUBJECT),
    "an Atomic of nothing": (ATOMIC + CHILD.txid + v1(), NO_SUBJECT),
    "an Atomic that lacks its subject": (ATOMIC + bytes(32) + V1, NO_SUBJECT),
    "an Atomic whose subject is a txid alone": (ATOMIC + CHILD.txid + v2(b"\x02" + CHILD.txid), NO_SUBJECT),
    "a last entry of a txid alone": (v2(PLAIN + CHILD.raw, b"\x02" + GRANDCHILD.txid), NO_SUBJECT),
    "a txid cut off": (v2(PLAIN + CHILD.raw, b"\x02" + CHILD.txid[:31]), MALFORMED),
}


@pytest.mark.parametrize(("data", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_and_how(data: bytes, code: ErrorCode) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_envelope(data)
    assert refusal.value.code is code


def test_the_message_about_the_magic_is_the_reference_s() -> None:
    with pytest.raises(BadRequest, match="must start with 4022206465 or 4022206466 but starts with 50462976"):
        parse_envelope(b"\x00\x01\x02\x03")


@pytest.mark.parametrize(
    ("limits", "accepted"),
    [
        (EnvelopeLimits(3, 1), True),
        (EnvelopeLimits(2, 1), False),
        (EnvelopeLimits(3, 0), False),
    ],
)
def test_limits_are_inclusive(limits: EnvelopeLimits, accepted: bool) -> None:
    if accepted:
        assert parse_envelope(V1, limits).subject == GRANDCHILD
        return
    with pytest.raises(BadRequest) as refusal:
        parse_envelope(V1, limits)
    assert refusal.value.code is TOO_LARGE


def test_a_txid_alone_is_no_member_and_may_be_missed() -> None:
    data = v2(b"\x02" + PARENT.txid, PLAIN + CHILD.raw, bumps=b"\x00")
    envelope = parse_envelope(data)
    assert (envelope.subject, envelope.missing()) == (CHILD, {PARENT.txid})


def test_a_txid_alone_that_nobody_needs_does_no_harm() -> None:
    envelope = parse_envelope(v2(b"\x02" + bytes(32), b"\x01\x00" + PARENT.raw, PLAIN + CHILD.raw))
    assert (envelope.subject, envelope.missing()) == (CHILD, set())


def test_members_that_the_subject_does_not_need_are_left_out() -> None:
    stranger = pay(funding(mark=9), 1)
    envelope = parse_envelope(beef([(stranger, None), *FAMILY]))
    assert stranger.txid in envelope.members
    assert stranger not in [member.transaction for member in envelope.ancestry()]
    assert envelope.missing() == set()


def test_what_a_proven_member_spends_is_not_needed() -> None:
    [mined] = Blocks().mine(CHILD)
    envelope = parse_envelope(beef([MINED, mined, (GRANDCHILD, None)]))
    assert [member.transaction for member in envelope.ancestry()] == [CHILD, GRANDCHILD]


def test_parents_may_come_last_in_an_atomic() -> None:
    envelope = parse_envelope(beef(FAMILY[::-1], 2, GRANDCHILD))
    assert [member.transaction for member in envelope.ancestry()] == [PARENT, CHILD, GRANDCHILD]


def test_an_atomic_s_subject_need_not_be_last() -> None:
    assert parse_envelope(beef(FAMILY, 1, CHILD)).subject == CHILD


def diamond(depth: int) -> list[Member]:
    """Each transaction spends both outputs of the one before: 2^depth ways to the root."""
    members: list[Member] = [MINED]
    top: Transaction = PARENT
    for level in range(depth):
        value = 5_000 - level - 1
        top = pay_from([(top, 0), (top, 1)], value, value)
        members.append((top, None))
    return members


def test_diamonds_take_linear_time() -> None:
    members = diamond(30)
    since = process_time()
    envelope = parse_envelope(beef(members))
    assert len(envelope.ancestry()) == 31
    assert envelope.missing() == set()
    assert process_time() - since < 0.5


def test_long_chains_do_not_recurse() -> None:
    members: list[Member] = [MINED]
    top = PARENT
    for step in range(1500):
        top = pay(top, 5_000 - step - 1)
        members.append((top, None))
    envelope = parse_envelope(beef(members))
    assert [member.transaction for member in envelope.ancestry()] == [transaction for transaction, _ in members]
