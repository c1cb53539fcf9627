"""SPV verification: each refusal with its code, each border, and time that grows with size and no faster."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import pytest

from config.errors import BadRequest, ErrorCode
from overlay import pushdrop
from overlay.builder import (
    Coin,
    P2pkhSigner,
    PushDropSigner,
    Sighash,
    TransactionBuilder,
    make_transaction,
    sighash,
)
from overlay.envelope import parse_envelope
from overlay.keys import PrivateKey
from overlay.merkle import MerkleTree
from overlay.pushdrop import encode_push
from overlay.sdk import hash160, hash256
from overlay.transaction import MAX_SATOSHIS, Input, Output, Transaction
from overlay.varint import write_varint
from overlay.verify import SpendJob, VerifyLimits, prepare, run, runs_inline
from tests.overlay.envelopes import (
    FINAL,
    KEY,
    LOCK,
    SIGNER,
    Blocks,
    Member,
    beef,
    coinbase,
    funding,
    judge,
    pay,
    pay_from,
    unlock,
)

OTHER = PrivateKey.from_int(815)
BLOCKS = Blocks()
FUNDS = funding([10_000, 10_000])
[MINED] = BLOCKS.mine(FUNDS)

Case = tuple[Callable[[], bytes], ErrorCode | None]


def over(*transactions: Transaction) -> bytes:
    return beef([MINED, *((transaction, None) for transaction in transactions)])


def chained(values: list[int]) -> bytes:
    made: list[Transaction] = []
    for value in values:
        made.append(pay(made[-1] if made else FUNDS, value))
    return over(*made)


def two_spenders() -> bytes:
    """Two members spend one output, and the subject spends both."""
    first, second = pay(FUNDS, 9_000), pay(FUNDS, 8_000)
    return over(first, second, pay_from([(first, 0), (second, 0)], 10))


def rivals_of_which_one_is_needed() -> bytes:
    return over(pay(FUNDS, 9_000), pay(FUNDS, 8_000))


def twice_in_one() -> bytes:
    spent = Input(FUNDS.txid, 0, b"\x51", FINAL)
    return over(make_transaction([spent, spent], [Output(1, LOCK)]))


def no_such_output() -> bytes:
    return over(make_transaction([Input(FUNDS.txid, 2, b"\x51", FINAL)], [Output(1, LOCK)]))


def proven(transaction: Transaction, **where: int) -> bytes:
    """The transaction alone, mined where `BLOCKS` knows of it."""
    [mined] = BLOCKS.mine(transaction, **where)
    return beef([mined])


def wrong_root() -> bytes:
    stranger = funding(mark=77)
    [mined] = Blocks().mine(stranger, height=10)
    return beef([mined])


def path_of_another() -> bytes:
    stranger = funding(mark=78)
    return beef([(stranger, MINED[1])])


def unknown_height() -> bytes:
    [mined] = Blocks().mine(FUNDS, height=5_000)
    return beef([mined])


def of_64_bytes() -> bytes:
    """A mined transaction that could as well be two hashes of a tree."""
    small = make_transaction([Input(hash256(b"x"), 0, b"\x51\x51\x51", FINAL)], [Output(1, b"\x51")])
    assert len(small.raw) == 64
    return proven(small, height=64)


def free(script: bytes = b"\x51", satoshis: int = 10) -> Transaction:
    """A transaction of `FUNDS` whose first output `script` locks."""
    return pay(FUNDS, satoshis, lock=script)


def missing_ancestor() -> bytes:
    first = pay(FUNDS, 9_000)
    return beef([MINED, (pay(first, 8_000), None)])


def txid_alone_that_is_needed() -> bytes:
    child = pay(FUNDS, 9_000)
    return b"\x02\x00\xbe\xef\x00\x02\x02" + FUNDS.txid + b"\x00" + child.raw


def txid_alone_that_is_not() -> bytes:
    proof = MINED[1] or b""
    child = pay(FUNDS, 9_000)
    return b"\x02\x00\xbe\xef\x01" + proof + b"\x03\x02" + bytes(32) + b"\x01\x00" + FUNDS.raw + b"\x00" + child.raw


def junk_beside() -> bytes:
    """A member that inflates and fails, and that the subject has nothing to do with."""
    junk = unlock(FUNDS, b"", MAX_SATOSHIS)
    return over(junk, pay(FUNDS, 9_000))


def unproven_coinbase() -> bytes:
    return beef([(coinbase(5), None)])


CASES: dict[str, Case] = {
    "a payment": (lambda: over(pay(FUNDS, 9_000)), None),
    "all of it, and no fee": (lambda: over(pay(FUNDS, 10_000)), None),
    "two inputs": (lambda: over(pay(FUNDS, 20_000, spends=(0, 1))), None),
    "a chain of three": (lambda: chained([9_000, 8_000, 7_000]), None),
    "a mined subject": (lambda: proven(FUNDS), None),
    "the only one of its block": (lambda: proven(FUNDS, height=11, others=0), None),
    "one satoshi out of nothing": (lambda: over(pay(FUNDS, 10_001)), ErrorCode.VALUE_NOT_CONSERVED),
    "inflation by an ancestor": (lambda: chained([10_001, 5]), ErrorCode.VALUE_NOT_CONSERVED),
    "inflation over two outputs": (lambda: over(pay(FUNDS, 9_000, 1_001)), ErrorCode.VALUE_NOT_CONSERVED),
    "more than exists": (
        lambda: over(pay(FUNDS, MAX_SATOSHIS, MAX_SATOSHIS)),
        ErrorCode.VALUE_NOT_CONSERVED,
    ),
    "a missing ancestor": (missing_ancestor, ErrorCode.ANCESTOR_MISSING),
    "a txid alone that is needed": (txid_alone_that_is_needed, ErrorCode.ANCESTOR_MISSING),
    "a txid alone that is not": (txid_alone_that_is_not, None),
    "an output that is not there": (no_such_output, ErrorCode.ANCESTOR_MISSING),
    "a coinbase without proof": (unproven_coinbase, ErrorCode.ANCESTOR_MISSING),
    "two members spend one output": (two_spenders, ErrorCode.DOUBLE_SPEND),
    "one transaction spends an output twice": (twice_in_one, ErrorCode.DOUBLE_SPEND),
    "a rival that nobody needs": (rivals_of_which_one_is_needed, None),
    "junk that nobody needs": (junk_beside, None),
    "a path to another root": (wrong_root, ErrorCode.MERKLE_PATH_INVALID),
    "a path of another transaction": (path_of_another, ErrorCode.MERKLE_PATH_INVALID),
    "a block that is not known": (unknown_height, ErrorCode.MERKLE_ROOT_UNKNOWN),
    "a mined transaction of 64 bytes": (of_64_bytes, ErrorCode.MERKLE_PATH_INVALID),
    "a script that is true": (lambda: over(free(), unlock(free(), b"")), None),
    "a script that is false": (lambda: over(free(b"\x00"), unlock(free(b"\x00"), b"")), ErrorCode.SCRIPT_INVALID),
}


@pytest.mark.parametrize(("make", "expected"), CASES.values(), ids=CASES.keys())
def test_verdicts(make: Callable[[], bytes], expected: ErrorCode | None) -> None:
    assert judge(make(), BLOCKS) == expected


def test_the_message_about_a_path_is_the_reference_s() -> None:
    stranger = funding(mark=77)
    with pytest.raises(BadRequest, match=f"Invalid merkle path for transaction {stranger.txid_hex}"):
        prepare(parse_envelope(wrong_root()), BLOCKS, VerifyLimits())


# Coinbases


@pytest.mark.parametrize(
    ("depth", "expected"),
    [(98, ErrorCode.COINBASE_IMMATURE), (99, None), (100, None), (0, ErrorCode.COINBASE_IMMATURE)],
)
@pytest.mark.parametrize("others", [0, 1, 3])
def test_coinbases_mature(depth: int, expected: ErrorCode | None, others: int) -> None:
    """One at tip - 99 can be in the block at tip + 1. `others` puts it where no coinbase stands, or seems to."""
    blocks = Blocks(tip_height=500)
    made = coinbase(500 - depth)
    [mined] = blocks.mine(made, height=500 - depth, others=others)
    assert judge(beef([mined, (pay(made, 1_000), None)]), blocks) == expected
    assert judge(beef([mined]), blocks) is None


def test_a_spent_coinbase_behind_a_proof_is_not_asked_for_its_age() -> None:
    blocks = Blocks(tip_height=500)
    made = coinbase(450)
    child = pay(made, 1_000)
    [_, mined] = blocks.mine(made, child, height=450)
    assert judge(beef([mined, (pay(child, 900), None)]), blocks) is None


def test_a_coinbase_passed_off_as_the_repetition_of_a_last_node_is_refused() -> None:
    """In a block of one with its coinbase hashed with itself, offset 1 would say that it is no coinbase."""
    blocks = Blocks(tip_height=500)
    made = coinbase(450)
    blocks.roots[450] = hash256(made.txid + made.txid)
    bump = write_varint(450) + b"\x01\x02\x00\x00" + made.txid + b"\x01\x02" + made.txid
    code = judge(beef([(made, bump), (pay(made, 1), None)]), blocks)
    assert code in (ErrorCode.MERKLE_PATH_INVALID, ErrorCode.COINBASE_IMMATURE)


# Merkle paths


def test_one_compound_path_for_several() -> None:
    blocks = Blocks()
    first, second = funding(mark=21), funding(mark=22)
    tree = MerkleTree([first.txid, second.txid])
    blocks.roots[40] = tree.root
    compound = write_varint(40) + b"\x01\x02\x00\x02" + first.txid + b"\x01\x02" + second.txid
    child = pay_from([(first, 0), (second, 0)], 20_000)
    data = beef([(first, compound), (second, compound), (child, None)])
    assert data.count(compound) == 1
    assert judge(data, blocks) is None


@pytest.mark.parametrize("others", [1, 2, 6, 7, 8, 100])
def test_blocks_of_every_shape(others: int) -> None:
    blocks = Blocks()
    mined = blocks.mine(FUNDS, height=77, others=others)
    assert judge(beef([*mined, (pay(FUNDS, 5), None)]), blocks) is None


def test_a_path_that_is_off_by_one_bit_anywhere_is_refused() -> None:
    proof = MINED[1] or b""
    child = pay(FUNDS, 9_000)
    for position in range(2, len(proof)):
        for bit in (0, 7):
            bent = bytearray(proof)
            bent[position] ^= 1 << bit
            assert judge(beef([(FUNDS, bytes(bent)), (child, None)]), BLOCKS) is not None, position


# Size


def test_diamonds_take_linear_time() -> None:
    members: list[Member] = [MINED]
    top = FUNDS
    for level in range(30):
        top = pay_from([(top, 0), (top, 1)], 9_000 - level, 9_000 - level)
        members.append((top, None))
    since = process_time()
    assert judge(beef(members), BLOCKS) is None
    assert process_time() - since < 1


def test_a_thousand_unconfirmed_ancestors() -> None:
    assert judge(chained([10_000 - step for step in range(1_100)]), BLOCKS) is None


@pytest.mark.parametrize(("limit", "expected"), [(2, None), (1, ErrorCode.ENVELOPE_TOO_LARGE)])
def test_the_limit_on_inputs_counts_unproven_ones(limit: int, expected: ErrorCode | None) -> None:
    data = chained([9_000, 8_000])
    assert judge(data, BLOCKS, VerifyLimits(inputs=limit)) == expected


@pytest.mark.parametrize(("limit", "expected"), [(201, None), (200, ErrorCode.SCRIPT_TOO_COSTLY)])
def test_the_limit_on_the_size_of_a_script(limit: int, expected: ErrorCode | None) -> None:
    limits = VerifyLimits(script_bytes=limit)
    large_lock = b"\x4c" + bytes((197,)) + bytes(197) + b"\x75\x51"
    for lock, script in ((large_lock, b""), (b"\x75\x51", b"\x4c\xc7" + bytes(199))):
        assert judge(raw_unlock(lock, script), BLOCKS, limits) == expected


@pytest.mark.parametrize(("limit", "expected"), [(3, None), (2, ErrorCode.SCRIPT_TOO_COSTLY)])
def test_the_limit_on_signature_checks(limit: int, expected: ErrorCode | None) -> None:
    locked = free(b"\x51\x63\x51\x67" + b"\xac" * 3 + b"\x68")
    assert judge(over(locked, unlock(locked, b"")), BLOCKS, VerifyLimits(sigops=limit)) == expected


def test_plain_spends_do_not_count_as_signature_checks() -> None:
    assert judge(chained([9_000, 8_000]), BLOCKS, VerifyLimits(sigops=0)) is None


# Scripts


def signed(
    locked: Transaction, key: PrivateKey = KEY, flags: int = 0x41, paid: int = 1
) -> tuple[Transaction, bytes]:
    """A spend of the first output without its unlocking script, and the signature that it needs."""
    draft = unlock(locked, b"", paid)
    digest = sighash(draft, 0, locked.outputs[0], flags)
    return draft, key.sign(digest) + bytes((flags,))


def spend_with(locked: Transaction, *items: bytes) -> Transaction:
    return unlock(locked, b"".join(encode_push(item) for item in items))


P2PK = encode_push(KEY.public) + b"\xac"
MULTISIG = (
    b"\x52" + encode_push(KEY.public) + encode_push(OTHER.public) + encode_push(PrivateKey.from_int(3).public)
)
MULTISIG += b"\x53\xae"
PUZZLE = b"\xa9" + encode_push(hash160(b"the answer")) + b"\x87"
TOKEN = pushdrop.lock(KEY.public, [b"certificate", b"\x01", b""])


def by(lock: bytes, *keys: PrivateKey, before: tuple[bytes, ...] = (), after: tuple[bytes, ...] = ()) -> bytes:
    locked = free(lock)
    signatures = [signed(locked, key)[1] for key in keys]
    return over(locked, spend_with(locked, *before, *signatures, *after))


def with_flags(flags: int) -> bytes:
    signer = PushDropSigner(KEY)
    locked = free(TOKEN)
    builder = TransactionBuilder().spend(Coin(locked.txid, 0, locked.outputs[0]), signer, flags=flags)
    return over(locked, builder.pay(1, LOCK).pay(2, LOCK).build())


def raw_unlock(lock: bytes, script: bytes) -> bytes:
    locked = free(lock)
    return over(locked, unlock(locked, script))


def high_s() -> bytes:
    """The same signature with n - S."""
    order = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
    locked = free(P2PK)
    signature = signed(locked)[1]
    r_length = signature[3]
    s = order - int.from_bytes(signature[6 + r_length : -1], "big")
    tail = s.to_bytes(33, "big")
    r = signature[2 : 4 + r_length]
    body = r + b"\x02\x21" + tail
    return over(locked, spend_with(locked, b"\x30" + bytes((len(body),)) + body + signature[-1:]))


def without_forkid() -> bytes:
    locked = free(P2PK)
    signature = signed(locked)[1]
    return over(locked, spend_with(locked, signature[:-1] + b"\x01"))


INVALID = ErrorCode.SCRIPT_INVALID
ALL, NONE, SINGLE = Sighash.ALL, Sighash.NONE, Sighash.SINGLE
ALONE, FORKID = Sighash.ANYONE_CAN_PAY, Sighash.FORKID

SCRIPTS: dict[str, Case] = {
    "P2PK": (lambda: by(P2PK, KEY), None),
    "P2PK by another key": (lambda: by(P2PK, OTHER), INVALID),
    "P2PKH by another key": (
        lambda: over(
            TransactionBuilder()
            .spend(Coin(FUNDS.txid, 0, FUNDS.outputs[0]), P2pkhSigner(OTHER))
            .pay(1, LOCK)
            .build()
        ),
        INVALID,
    ),
    "P2PKH with nothing": (lambda: over(unlock(FUNDS, b"")), INVALID),
    "PushDrop": (lambda: by(TOKEN, KEY), None),
    "PushDrop by another key": (lambda: by(TOKEN, OTHER), INVALID),
    "PushDrop with more than the signature": (lambda: by(TOKEN, KEY, before=(b"x",)), INVALID),
    "2 of 3": (lambda: by(MULTISIG, KEY, OTHER, before=(b"",)), None),
    "2 of 3 in the wrong order": (lambda: by(MULTISIG, OTHER, KEY, before=(b"",)), INVALID),
    "1 of 3 where 2 are wanted": (lambda: by(MULTISIG, KEY, before=(b"",)), INVALID),
    "2 of 3 without the dummy": (lambda: by(MULTISIG, KEY, OTHER), INVALID),
    "a hash puzzle": (lambda: raw_unlock(PUZZLE, encode_push(b"the answer")), None),
    "a hash puzzle guessed wrong": (lambda: raw_unlock(PUZZLE, encode_push(b"a guess")), INVALID),
    "OP_RETURN behind true": (lambda: raw_unlock(b"\x6a\xff\xff", b"\x51"), None),
    "signed over what is behind OP_RETURN": (lambda: by(P2PK + b"\x6a\x01\x02\x4c\x01\x01", KEY), None),
    "signed over a push cut off behind OP_RETURN": (lambda: by(P2PK + b"\x6a\x05\x01", KEY), None),
    "a push cut off behind an OP_RETURN that is skipped": (
        lambda: raw_unlock(b"\x00\x63\x6a\x68\x51\x05\x01", b""),
        INVALID,
    ),
    "OP_FALSE OP_RETURN": (lambda: raw_unlock(b"\x00\x6a\x01\x02", b""), INVALID),
    "CHECKLOCKTIMEVERIFY is a no-op": (lambda: raw_unlock(b"\x04\xff\xff\xff\x7f\xb1\x75\x51", b""), None),
    "CHECKSEQUENCEVERIFY is a no-op": (lambda: raw_unlock(b"\x04\xff\xff\xff\x7f\xb2\x75\x51", b""), None),
    "an opcode that is none": (lambda: raw_unlock(b"\x51\xff", b""), INVALID),
    "two items left over": (lambda: raw_unlock(b"\x51\x51", b""), INVALID),
    "both scripts empty": (lambda: raw_unlock(b"", b""), INVALID),
    "OP_IF without its end": (lambda: raw_unlock(b"\x51\x63\x51", b""), INVALID),
    "too few items": (lambda: raw_unlock(b"\x93", b"\x51"), INVALID),
    "a division by zero": (lambda: raw_unlock(b"\x51\x00\x96", b""), INVALID),
    "opcodes in an unlocking script": (lambda: raw_unlock(b"\x53\x87", b"\x51\x52\x93"), INVALID),
    "a push of 4 GiB that does not come, unlocking": (
        lambda: raw_unlock(b"\x51", b"\x4e\xff\xff\xff\xff"),
        INVALID,
    ),
    "a push cut off, unlocking": (lambda: raw_unlock(b"\x51", b"\x05\x01"), INVALID),
    "a push cut off, locking": (lambda: raw_unlock(b"\x51\x05\x01", b""), INVALID),
    "a length cut off, locking": (lambda: raw_unlock(b"\x51\x4d\x01", b""), INVALID),
    "a push cut off behind a signature": (lambda: raw_unlock(b"\x75\x51", b"\x01\x07\x4c"), INVALID),
    "a signature with high S": (high_s, INVALID),
    "a signature without FORKID": (without_forkid, INVALID),
    **{
        f"signed with {int(base | alone | FORKID):#x}": (
            lambda flags=int(base | alone | FORKID): with_flags(flags),
            None,
        )
        for base in (ALL, NONE, SINGLE)
        for alone in (Sighash(0), ALONE)
    },
}


@pytest.mark.parametrize(("make", "expected"), SCRIPTS.values(), ids=SCRIPTS.keys())
def test_scripts(make: Callable[[], bytes], expected: ErrorCode | None) -> None:
    assert judge(make(), BLOCKS) == expected


@pytest.mark.parametrize("version", [0, 1, 2, 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("lock_time", [0, 2**32 - 1])
@pytest.mark.parametrize("sequence", [0, 2**32 - 1])
def test_every_version_lock_time_and_sequence_can_be_signed(version: int, lock_time: int, sequence: int) -> None:
    builder = TransactionBuilder(version, lock_time)
    builder.spend(Coin(FUNDS.txid, 0, FUNDS.outputs[0]), SIGNER, sequence)
    assert judge(over(builder.pay(1, LOCK).build()), BLOCKS) is None


def test_a_signature_covers_every_field() -> None:
    sound = TransactionBuilder(1, 5).spend(Coin(FUNDS.txid, 0, FUNDS.outputs[0]), SIGNER, 7).pay(9, LOCK).build()
    spent, paid = sound.inputs[0], sound.outputs[0]
    variants = [
        make_transaction([spent], [paid], 2, 5),
        make_transaction([spent], [paid], 1, 6),
        make_transaction([spent._replace(sequence=8)], [paid], 1, 5),
        make_transaction([spent._replace(source_index=1)], [paid], 1, 5),
        make_transaction([spent], [paid._replace(satoshis=8)], 1, 5),
        make_transaction([spent], [paid._replace(script=LOCK + b"\x61")], 1, 5),
        make_transaction([spent], [paid, paid], 1, 5),
    ]
    assert judge(over(sound), BLOCKS) is None
    assert [judge(over(variant), BLOCKS) for variant in variants] == [INVALID] * len(variants)


# What may run on the event loop


def job_of(count: int, outputs: list[Output], lock: bytes = LOCK) -> SpendJob:
    coins = [Coin(hash256(bytes((n,))), 0, Output(10**9, lock)) for n in range(count)]
    builder = TransactionBuilder()
    for coin in coins:
        builder.spend(coin, SIGNER)
    for paid in outputs:
        builder.pay(paid.satoshis, paid.script)
    return SpendJob(builder.build(), tuple(coin.output for coin in coins))


LIMITS = VerifyLimits()
SMALL, LARGE = [Output(1, LOCK)], [Output(1, b"\x00\x6a" + encode_push(bytes(500_000)))]


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (job_of(1, SMALL), True),
        (job_of(LIMITS.inline_sigops, SMALL), True),
        (job_of(LIMITS.inline_sigops + 1, SMALL), False),
        (job_of(1, SMALL, b"\x51"), False),
        (job_of(1, LARGE), True),
        (job_of(LIMITS.inline_sigops, LARGE), False),
    ],
    ids=["one", "as many as may", "one more", "another script", "large, hashed once", "large, hashed often"],
)
def test_only_what_is_quick_runs_on_the_event_loop(job: SpendJob, expected: bool) -> None:
    assert runs_inline([job], LIMITS) is expected


def test_what_runs_on_the_event_loop_is_quick() -> None:
    """Signatures hash the whole transaction each, so many inputs with large outputs are slow in the square."""
    for size in (1_000, 10_000, 80_000, 200_000, 1_000_000):
        job = job_of(LIMITS.inline_sigops, [Output(1, b"\x00\x6a" + encode_push(bytes(size)))])
        if runs_inline([job], LIMITS):
            since = process_time()
            run(job)
            assert process_time() - since < 0.05
