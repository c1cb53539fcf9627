"""Transactions built here are those that bsv-sdk builds, byte for byte, and its script VM takes them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import BadRequest, ErrorCode
from overlay import pushdrop
from overlay.builder import (
    ALL_FORKID,
    Coin,
    P2pkhSigner,
    PushDropSigner,
    Sighash,
    TransactionBuilder,
    coins_of,
    fee_for,
    p2pkh_lock,
    sighash,
)
from overlay.keys import PrivateKey
from overlay.merkle import bump_for
from overlay.sdk import hash256, load_sdk, parse_script, run_scripts
from overlay.transaction import Input, Output, Transaction
from overlay.wire import (
    make_transaction,
    parse,
    parse_extended,
    serialize_output,
    to_extended,
    write_beef,
)

KEY = PrivateKey.from_int(1001)
OTHER = PrivateKey.from_int(1002)
LOCK = p2pkh_lock(KEY.public)
PARENT = make_transaction([Input(b"\x11" * 32, 7, b"\x51", 5)], [Output(10_000, LOCK), Output(2_000, LOCK)])


@pytest.fixture(scope="module")
def bsv() -> Any:
    return load_sdk()


def spend_parent() -> Transaction:
    first, second = coins_of(PARENT)
    signer = P2pkhSigner(KEY)
    token = pushdrop.lock(OTHER.public, [b"one", b"\x05", b""])
    return TransactionBuilder().spend(first, signer).spend(second, signer, 9).pay(1, token).change_to(LOCK).build()


def runs(transaction: Transaction, index: int, source: Output) -> bool:
    spent = transaction.inputs[index]
    others = [
        (i.source_txid[::-1].hex(), i.source_index, b"", 0, i.sequence, ALL_FORKID)
        for at, i in enumerate(transaction.inputs)
        if at != index
    ]
    return bool(
        run_scripts(
            parse_script(spent.unlocking_script),
            parse_script(source.script),
            transaction.version,
            spent.source_txid[::-1].hex(),
            spent.source_index,
            transaction.lock_time,
            index,
            spent.sequence,
            source.satoshis,
            others,
            [serialize_output(output) for output in transaction.outputs],
        )
    )


def sdk_twin(bsv: Any, transaction: Transaction) -> Any:
    """The same transaction, assembled by the SDK, its parent attached."""
    twin = bsv.Transaction(tx_version=transaction.version, locktime=transaction.lock_time)
    parent = bsv.Transaction.from_hex(PARENT.raw)
    for spent in transaction.inputs:
        twin.add_input(
            bsv.TransactionInput(
                source_transaction=parent,
                source_output_index=spent.source_index,
                unlocking_script=bsv.Script(spent.unlocking_script),
                sequence=spent.sequence,
            )
        )
    for output in transaction.outputs:
        twin.add_output(bsv.TransactionOutput(bsv.Script(output.script), output.satoshis))
    return twin


def test_the_sdk_serializes_alike(bsv: Any) -> None:
    transaction = spend_parent()
    twin = sdk_twin(bsv, transaction)
    assert twin.serialize() == transaction.raw
    assert twin.txid() == transaction.txid_hex
    assert twin.to_ef() == to_extended(transaction, PARENT.outputs)


@pytest.mark.parametrize("base", [Sighash.ALL, Sighash.NONE, Sighash.SINGLE])
@pytest.mark.parametrize("alone", [Sighash(0), Sighash.ANYONE_CAN_PAY])
def test_the_sdk_hashes_alike(bsv: Any, base: Sighash, alone: Sighash) -> None:
    transaction = spend_parent()
    flags = int(base | alone | Sighash.FORKID)
    twin = sdk_twin(bsv, transaction)
    for index, source in enumerate(PARENT.outputs):
        twin.inputs[index].sighash = bsv.SIGHASH(flags)
        twin.inputs[index].locking_script = bsv.Script(source.script)
        twin.inputs[index].satoshis = source.satoshis
        assert hash256(twin.preimage(index)) == sighash(transaction, index, source, flags)


@pytest.mark.parametrize("flags", [0x41, 0x42, 0x43, 0xC1, 0xC2, 0xC3])
def test_signatures_unlock(flags: int) -> None:
    token = pushdrop.lock(KEY.public, [b"a", b"b", b"c"])
    coins = [Coin(b"\x22" * 32, 0, Output(500, token)), Coin(b"\x33" * 32, 4, Output(700, LOCK))]
    builder = TransactionBuilder(version=2, lock_time=3).pay(5, LOCK).pay(6, LOCK)
    builder.spend(coins[0], PushDropSigner(KEY), 1, flags).spend(coins[1], P2pkhSigner(KEY), 2, flags)
    transaction = builder.build()
    assert all(runs(transaction, index, coin.output) for index, coin in enumerate(coins))


def test_a_signature_of_another_key_does_not_unlock() -> None:
    transaction = TransactionBuilder().spend(coins_of(PARENT)[0], P2pkhSigner(OTHER)).pay(1, LOCK).build()
    with pytest.raises(RuntimeError):
        runs(transaction, 0, PARENT.outputs[0])


def test_signing_without_forkid_is_refused() -> None:
    with pytest.raises(ValueError, match="FORKID"):
        sighash(PARENT, 0, PARENT.outputs[0], 0x01)


def test_change_is_what_the_fee_leaves() -> None:
    transaction = spend_parent()
    left = sum(output.satoshis for output in PARENT.outputs) - sum(o.satoshis for o in transaction.outputs)
    assert fee_for(len(transaction.raw)) <= left <= fee_for(len(transaction.raw) + 6)


def test_no_change_output_for_nothing() -> None:
    coin = Coin(b"\x22" * 32, 0, Output(101, LOCK))
    transaction = TransactionBuilder().spend(coin, P2pkhSigner(KEY)).pay(100, LOCK).change_to(LOCK).build()
    assert len(transaction.outputs) == 1


@pytest.mark.parametrize("with_change", [True, False])
def test_coins_that_do_not_suffice_are_told(with_change: bool) -> None:
    coin = Coin(b"\x22" * 32, 0, Output(100, LOCK))
    builder = TransactionBuilder().spend(coin, P2pkhSigner(KEY)).pay(101, LOCK)
    if with_change:
        builder.change_to(LOCK)
    with pytest.raises(ValueError, match="lacking"):
        builder.build()


@pytest.mark.parametrize(("size", "rate", "fee"), [(1, 1, 1), (1000, 1, 1), (1001, 1, 2), (250, 50, 13), (0, 1, 1)])
def test_fees_round_up(size: int, rate: int, fee: int) -> None:
    assert fee_for(size, rate) == fee


scripts = st.binary(max_size=300)
inputs = st.builds(
    Input, st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1), scripts, st.integers(0, 2**32 - 1)
)
outputs = st.builds(Output, st.integers(0, 10**14), scripts)


@given(
    st.lists(inputs, min_size=1, max_size=4, unique_by=lambda spent: spent.outpoint),
    st.lists(outputs, min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)
def test_what_is_written_is_read(spends: list[Input], pays: list[Output], version: int, lock_time: int) -> None:
    transaction = make_transaction(spends, pays, version, lock_time)
    assert parse(transaction.raw) == transaction
    sources = tuple(Output(n, pays[0].script) for n in range(len(spends)))
    assert parse_extended(to_extended(transaction, sources)) == (transaction, sources)


REFUSED = {
    "nothing": b"",
    "cut off": PARENT.raw[:-1],
    "left over": PARENT.raw + b"\x00",
    "no inputs": make_transaction([], PARENT.outputs).raw,
    "no outputs": make_transaction(PARENT.inputs, []).raw,
    "too many coins": make_transaction(PARENT.inputs, [Output(2**64 - 1, b"")]).raw,
    "a count that lies": PARENT.raw[:4] + b"\xfe\xff\xff\xff\xff" + PARENT.raw[5:],
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_a_transaction_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse(raw)
    assert refusal.value.code is ErrorCode.ENVELOPE_MALFORMED


def test_extended_format_cut_off_anywhere_is_refused() -> None:
    extended = to_extended(spend_parent(), PARENT.outputs)
    for end in range(len(extended)):
        with pytest.raises(BadRequest):
            parse_extended(extended[:end])
    with pytest.raises(BadRequest):
        parse_extended(extended + b"\x00")


def test_extended_format_needs_every_source() -> None:
    with pytest.raises(ValueError, match="every input"):
        to_extended(spend_parent(), PARENT.outputs[:1])


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("atomic", [False, True])
def test_the_sdk_reads_the_beef(bsv: Any, version: Any, atomic: bool) -> None:
    child = TransactionBuilder().spend(coins_of(PARENT)[0], P2pkhSigner(KEY)).pay(1, LOCK).build()
    bump = bump_for([b"\x44" * 32, PARENT.txid], 1, 812)
    beef = write_beef([(PARENT, bump), (child, None)], version, child.txid if atomic else None)
    if version == 1 and not atomic:
        read = bsv.Transaction.from_beef(beef)
        assert read.txid() == child.txid_hex
        assert read.inputs[0].source_transaction.merkle_path.to_binary() == bump
        assert read.to_beef() == beef
        return
    beefs = load_sdk("bsv.transaction.beef")
    read = beefs.new_beef_from_atomic_bytes(beef)[0] if atomic else beefs.new_beef_from_bytes(beef)
    assert child.txid_hex in read.txs
    if version == 2:
        assert read.bumps[0].to_binary() == bump
        assert read.to_binary() == beef[36 if atomic else 0 :]


def test_equal_bumps_are_written_once() -> None:
    bump = bump_for([PARENT.txid], 0, 5)
    beef = write_beef([(PARENT, bump), (PARENT, bump)])
    assert beef.count(bump) == 1
