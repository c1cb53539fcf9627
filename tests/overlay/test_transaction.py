"""Raw transactions: what is read, and everything that is not one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import BadRequest, ErrorCode
from overlay.sdk import hash256, native
from overlay.transaction import (
    MAX_SATOSHIS,
    Input,
    Output,
    Transaction,
    outpoint,
    parse_at,
    read_outpoint,
    show_outpoint,
    split_outpoint,
    txid_from_hex,
)
from overlay.varint import write_varint
from overlay.wire import make_transaction
from tests.overlay.envelopes import FINAL, LOCK, coinbase, funding, pay

PARENT = funding([6_000, 4_000])
SOUND = pay(PARENT, 5_000, 4_999, spends=[0, 1])


def raw(inputs: bytes, outputs: bytes, tail: bytes = bytes(4)) -> bytes:
    return b"\x01\x00\x00\x00" + inputs + outputs + tail


def spend(mark: int = 1, index: int = 0, length: bytes = b"\x00") -> bytes:
    return bytes((mark,)) * 32 + index.to_bytes(4, "little") + length + b"\xff\xff\xff\xff"


def output(satoshis: int = 1, length: bytes = b"\x00") -> bytes:
    return satoshis.to_bytes(8, "little") + length


ONE_IN = b"\x01" + spend()
ONE_OUT = b"\x01" + output()

REFUSED = {
    "nothing": b"",
    "a version alone": b"\x01\x00\x00\x00",
    "no inputs": raw(b"\x00", ONE_OUT),
    "no outputs": raw(ONE_IN, b"\x00"),
    "a segwit marker": raw(b"\x00\x01" + ONE_IN, ONE_OUT),
    "extended format": raw(b"\x00\x00\x00\x00\x00\xef" + ONE_IN, ONE_OUT),
    "left over": raw(ONE_IN, ONE_OUT) + b"\x00",
    "more inputs than come": raw(b"\x02" + spend(), ONE_OUT),
    "more outputs than come": raw(ONE_IN, b"\x02" + output()),
    "a million inputs": raw(b"\xfe\x40\x42\x0f\x00" + spend(), ONE_OUT),
    "2^64 - 1 inputs": raw(b"\xff" * 9 + spend(), ONE_OUT),
    "100,001 inputs": raw(b"\xfe\xa1\x86\x01\x00" + spend(), ONE_OUT),
    "100,001 outputs": raw(ONE_IN, b"\xfe\xa1\x86\x01\x00" + output()),
    "a script of 2^64 - 1 bytes": raw(ONE_IN, b"\x01" + output(length=b"\xff" * 9)),
    "one satoshi more than exist": raw(ONE_IN, b"\x01" + output(MAX_SATOSHIS + 1)),
    "a negative value": raw(ONE_IN, b"\x01" + output(2**64 - 1)),
    "input count in 3 bytes": raw(b"\xfd\x01\x00" + spend(), ONE_OUT),
    "input count in 5 bytes": raw(b"\xfe\x01\x00\x00\x00" + spend(), ONE_OUT),
    "output count in 9 bytes": raw(ONE_IN, b"\xff\x01" + bytes(7) + output()),
    "unlocking length in 3 bytes": raw(b"\x01" + spend(length=b"\xfd\x00\x00"), ONE_OUT),
    "locking length in 3 bytes": raw(ONE_IN, b"\x01" + output(length=b"\xfd\x00\x00")),
    "locking length 0xFFFF in 5 bytes": raw(
        ONE_IN, b"\x01" + output(length=b"\xfe\xff\xff\x00\x00") + bytes(65535)
    ),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_a_transaction_is_malformed(data: bytes) -> None:
    with pytest.raises(BadRequest) as refusal:
        Transaction.parse(data)
    assert refusal.value.code is ErrorCode.ENVELOPE_MALFORMED


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (raw(b"\x02" + spend() + spend(), ONE_OUT), ErrorCode.DOUBLE_SPEND),
        (raw(ONE_IN, b"\x02" + output(MAX_SATOSHIS) + output()), ErrorCode.VALUE_NOT_CONSERVED),
    ],
    ids=["an outpoint spent twice", "more together than exists"],
)
def test_what_no_block_holds_is_refused(data: bytes, code: ErrorCode) -> None:
    with pytest.raises(BadRequest) as refusal:
        Transaction.parse(data)
    assert refusal.value.code is code


def test_two_outputs_of_one_transaction_may_be_spent() -> None:
    data = raw(b"\x02" + spend(index=0) + spend(index=1), b"\x02" + output(MAX_SATOSHIS - 1) + output())
    assert len(Transaction.parse(data).inputs) == 2


@pytest.mark.parametrize("transaction", [SOUND, coinbase(7), funding([0, MAX_SATOSHIS], lock=b"")])
def test_cut_off_anywhere_is_malformed(transaction: Transaction) -> None:
    for end in range(len(transaction.raw)):
        with pytest.raises(BadRequest) as refusal:
            Transaction.parse(transaction.raw[:end])
        assert refusal.value.code is ErrorCode.ENVELOPE_MALFORMED


def test_parse_at_finds_its_end() -> None:
    data = b"before" + SOUND.raw + b"after"
    assert parse_at(data, 6) == (SOUND, 6 + len(SOUND.raw))


def test_the_native_module_reads_alike() -> None:
    theirs = native.tx_from_bytes(SOUND.raw)
    assert (theirs["version"], theirs["locktime"]) == (SOUND.version, SOUND.lock_time)
    for ours, spent in zip(SOUND.inputs, theirs["inputs"], strict=True):
        assert bytes.fromhex(spent["source_txid"])[::-1] == ours.source_txid
        assert spent["source_output_index"] == ours.source_index
        assert (spent["unlocking_script"], spent["sequence"]) == (ours.unlocking_script, ours.sequence)
    paid = [Output(found["satoshis"], found["locking_script"]) for found in theirs["outputs"]]
    assert tuple(paid) == SOUND.outputs


u32 = st.integers(0, 2**32 - 1)
inputs = st.builds(Input, st.binary(min_size=32, max_size=32), u32, st.binary(max_size=300), u32)
outputs = st.builds(Output, st.integers(0, MAX_SATOSHIS // 8), st.binary(max_size=300))


@given(
    st.lists(inputs, min_size=1, max_size=8, unique_by=lambda spent: spent.outpoint),
    st.lists(outputs, min_size=1, max_size=8),
    u32,
    u32,
)
def test_what_is_written_is_read(spent: list[Input], paid: list[Output], version: int, lock_time: int) -> None:
    made = make_transaction(spent, paid, version, lock_time)
    read = Transaction.parse(made.raw)
    assert read == made
    assert read.txid == hash256(made.raw)


@given(st.binary(max_size=400))
def test_noise_is_malformed_or_a_transaction(data: bytes) -> None:
    try:
        assert Transaction.parse(data).raw == data
    except BadRequest as refusal:
        assert refusal.code in (ErrorCode.ENVELOPE_MALFORMED, ErrorCode.DOUBLE_SPEND, ErrorCode.VALUE_NOT_CONSERVED)


@pytest.mark.parametrize("length", [0, 252, 253, 65535, 65536])
def test_scripts_of_every_width_of_length(length: int) -> None:
    data = raw(ONE_IN, b"\x01" + output(length=write_varint(length)) + bytes(length))
    assert len(Transaction.parse(data).outputs[0].script) == length


@pytest.mark.parametrize(
    ("source", "count", "expected"), [(bytes(32), 1, True), (bytes(32), 2, False), (b"\x01" * 32, 1, False)]
)
def test_a_coinbase_has_one_input_that_names_no_output(source: bytes, count: int, expected: bool) -> None:
    spent = [Input(source, FINAL - n, b"\x51\x51", FINAL) for n in range(count)]
    assert make_transaction(spent, [Output(1, LOCK)]).is_coinbase is expected


def test_outpoints_and_txids_as_text() -> None:
    value = outpoint(SOUND.txid, 258)
    assert value[32:] == b"\x02\x01\x00\x00"
    assert split_outpoint(value) == (SOUND.txid, 258)
    assert show_outpoint(value) == f"{SOUND.txid_hex}.258"
    assert txid_from_hex(SOUND.txid_hex) == SOUND.txid
    for text in ("", "zz" * 32, SOUND.txid_hex[2:]):
        with pytest.raises(ValueError, match="hex"):
            txid_from_hex(text)
    assert read_outpoint(show_outpoint(value)) == value
    for text in ("", SOUND.txid_hex, f"{SOUND.txid_hex}.{2**32}", f"{SOUND.txid_hex}.-1", "00.1"):
        with pytest.raises(ValueError, match=r"hex|int|index"):
            read_outpoint(text)
