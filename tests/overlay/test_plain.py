"""The quick way says yes to nothing that the script machine refuses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import BadRequest
from overlay import pushdrop
from overlay.builder import (
    Coin,
    P2pkhSigner,
    PushDropSigner,
    Signer,
    TransactionBuilder,
    make_transaction,
    p2pkh_lock,
)
from overlay.keys import PrivateKey
from overlay.plain import is_plainly_signed
from overlay.sighash import Sighash, Sighasher
from overlay.transaction import Output, Transaction
from overlay.verify import _Machine

KEY = PrivateKey.from_int(4711)
TOKEN = pushdrop.lock(KEY.public, [b"certificate" * 30, b"\x01", b""])
LOCKS: dict[str, tuple[bytes, Signer]] = {
    "P2PKH": (p2pkh_lock(KEY.public), P2pkhSigner(KEY)),
    "PushDrop": (TOKEN, PushDropSigner(KEY)),
}


def spend(lock: bytes, signer: Signer, flags: int = 0x41) -> tuple[Transaction, Output]:
    """A transaction that spends an output with that lock, second of two inputs."""
    source = Output(5000, lock)
    builder = TransactionBuilder(version=2, lock_time=77)
    builder.spend(Coin(b"\x07" * 32, 3, Output(100, p2pkh_lock(KEY.public))), P2pkhSigner(KEY))
    builder.spend(Coin(b"\x08" * 32, 1, source), signer, sequence=9, flags=flags)
    return builder.pay(900, b"\x51").pay(1, TOKEN).build(), source


def machine_says(transaction: Transaction, source: Output) -> bool:
    try:
        _Machine(transaction).run(1, source)
    except BadRequest:
        return False
    return True


def plainly(transaction: Transaction, source: Output) -> bool:
    return is_plainly_signed(Sighasher(transaction), 1, transaction.inputs[1].unlocking_script, source)


def with_unlocking(transaction: Transaction, script: bytes) -> Transaction:
    inputs = [transaction.inputs[0], transaction.inputs[1]._replace(unlocking_script=script)]
    return make_transaction(inputs, transaction.outputs, transaction.version, transaction.lock_time)


@pytest.mark.parametrize("name", LOCKS)
def test_what_everybody_writes_is_recognised(name: str) -> None:
    transaction, source = spend(*LOCKS[name])
    assert plainly(transaction, source)
    assert machine_says(transaction, source)


@pytest.mark.parametrize("name", LOCKS)
@pytest.mark.parametrize("flags", [0x42, 0x43, 0xC1, 0xC2, 0xC3])
def test_other_flags_are_for_the_machine(name: str, flags: int) -> None:
    assert flags & Sighash.FORKID
    transaction, source = spend(*LOCKS[name], flags=flags)
    assert not plainly(transaction, source)
    assert machine_says(transaction, source)


@pytest.mark.parametrize("name", LOCKS)
def test_a_signature_covers_every_part(name: str) -> None:
    transaction, source = spend(*LOCKS[name])
    others = [
        make_transaction(transaction.inputs, transaction.outputs, 1, transaction.lock_time),
        make_transaction(transaction.inputs, transaction.outputs, transaction.version, 78),
        make_transaction(transaction.inputs, transaction.outputs[:1], transaction.version, transaction.lock_time),
    ]
    assert not any(plainly(other, source) for other in others)
    assert not plainly(transaction, Output(5001, source.script))


@pytest.mark.parametrize(
    "script",
    [
        TOKEN[:35] + b"\x4c\x01\x07" + TOKEN[35:-2] + b"\x6d\x6d",
        b"\x4c\x21" + TOKEN[1:],
        TOKEN + b"\x61",
        p2pkh_lock(KEY.public)[:-1],
    ],
)
def test_locks_written_another_way_are_for_the_machine(script: bytes) -> None:
    transaction, _ = spend(*LOCKS["PushDrop"])
    assert not plainly(transaction, Output(5000, script))


@given(st.sampled_from(list(LOCKS)), st.data())
@settings(max_examples=400, deadline=None)
def test_no_mutation_is_let_through(name: str, data: st.DataObject) -> None:
    transaction, source = spend(*LOCKS[name])
    unlocking = bytearray(transaction.inputs[1].unlocking_script)
    lock = bytearray(source.script)
    for script in (unlocking, lock):
        for _ in range(data.draw(st.integers(0, 2))):
            place = data.draw(st.integers(0, len(script) - 1))
            match data.draw(st.sampled_from(["set", "insert", "cut"])):
                case "set":
                    script[place] = data.draw(st.integers(0, 255))
                case "insert":
                    script.insert(place, data.draw(st.integers(0, 255)))
                case "cut":
                    del script[place:]
            if not script:
                script.append(0)
    mutated = with_unlocking(transaction, bytes(unlocking))
    target = Output(source.satoshis, bytes(lock))
    if plainly(mutated, target):
        assert machine_says(mutated, target)
