"""Building and signing transactions: coins in, outputs out, change by a fee rate.

    draft = TransactionBuilder().spend(coin, P2pkhSigner(key)).pay(1, script).change_to(own_script)
    transaction = draft.build()

Signatures are BIP143 with FORKID, over every input and output unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from functools import cached_property
from typing import Final, Protocol, Self

from overlay import pushdrop
from overlay.keys import PrivateKey
from overlay.sdk import hash160, hash256
from overlay.transaction import Input, Output, Transaction
from overlay.varint import write_varint
from overlay.wire import (
    make_transaction,
    parse,
    parse_extended,
    serialize,
    serialize_output,
    serialize_outputs,
    to_extended,
    write_beef,
    write_script,
)

__all__ = [
    "Coin",
    "P2pkhSigner",
    "PushDropSigner",
    "Sighash",
    "Sighasher",
    "Signer",
    "TransactionBuilder",
    "coins_of",
    "fee_for",
    "make_transaction",
    "p2pkh_lock",
    "parse",
    "parse_extended",
    "serialize",
    "sighash",
    "to_extended",
    "write_beef",
]

FINAL_SEQUENCE: Final = 0xFFFF_FFFF
FEE_RATE: Final = 1
"""Satoshis for 1000 bytes."""
_SIGNATURE_PUSH_BYTES: Final = 1 + 72 + 1
_KEY_PUSH_BYTES: Final = 34
_NOTHING: Final = bytes(32)


class Sighash(IntFlag):
    """What a signature covers; the byte that ends it."""

    ALL = 0x01
    NONE = 0x02
    SINGLE = 0x03
    FORKID = 0x40
    ANYONE_CAN_PAY = 0x80


ALL_FORKID: Final = int(Sighash.ALL | Sighash.FORKID)


@dataclass(frozen=True, slots=True)
class Coin:
    """An output that can be spent. `txid` is in internal byte order."""

    txid: bytes
    index: int
    output: Output


def coins_of(transaction: Transaction) -> list[Coin]:
    """The outputs of a transaction, as coins."""
    return [Coin(transaction.txid, index, output) for index, output in enumerate(transaction.outputs)]


def p2pkh_lock(public_key: bytes) -> bytes:
    """The script that pays to a public key's hash."""
    return b"\x76\xa9\x14" + hash160(public_key) + b"\x88\xac"


class Signer(Protocol):
    """Makes unlocking scripts. `max_bytes` bounds their size, for the fee."""

    @property
    def max_bytes(self) -> int: ...

    def unlock(self, digest: bytes, flags: int) -> bytes:
        """The unlocking script for an input's sighash."""
        ...


@dataclass(frozen=True, slots=True)
class P2pkhSigner:
    """`<signature> <public key>`."""

    key: PrivateKey
    max_bytes: int = _SIGNATURE_PUSH_BYTES + _KEY_PUSH_BYTES

    def unlock(self, digest: bytes, flags: int) -> bytes:
        return pushdrop.unlock(self.key, digest, flags) + pushdrop.encode_push(self.key.public)


@dataclass(frozen=True, slots=True)
class PushDropSigner:
    """`<signature>`."""

    key: PrivateKey
    max_bytes: int = _SIGNATURE_PUSH_BYTES

    def unlock(self, digest: bytes, flags: int) -> bytes:
        return pushdrop.unlock(self.key, digest, flags)


class Sighasher:
    """BIP143 digests of one transaction; what its inputs have in common is hashed once."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    @cached_property
    def _prevouts(self) -> bytes:
        return hash256(b"".join([spent.outpoint for spent in self._transaction.inputs]))

    @cached_property
    def _sequences(self) -> bytes:
        return hash256(b"".join([spent.sequence.to_bytes(4, "little") for spent in self._transaction.inputs]))

    @cached_property
    def _outputs(self) -> bytes:
        return hash256(serialize_outputs(self._transaction.outputs))

    def _outputs_hash(self, index: int, base: int) -> bytes:
        outputs = self._transaction.outputs
        if base == Sighash.SINGLE:
            return hash256(serialize_output(outputs[index])) if index < len(outputs) else _NOTHING
        return _NOTHING if base == Sighash.NONE else self._outputs

    def preimage(self, index: int, source: Output, flags: int = ALL_FORKID) -> bytes:
        """What is signed for an input that spends `source`; ValueError without FORKID."""
        if not flags & Sighash.FORKID:
            raise ValueError("signatures here are with FORKID")
        transaction, spent = self._transaction, self._transaction.inputs[index]
        alone, base = flags & Sighash.ANYONE_CAN_PAY, flags & 0x1F
        return b"".join(
            (
                transaction.version.to_bytes(4, "little"),
                _NOTHING if alone else self._prevouts,
                self._sequences if not alone and base == Sighash.ALL else _NOTHING,
                spent.outpoint,
                write_script(source.script),
                source.satoshis.to_bytes(8, "little"),
                spent.sequence.to_bytes(4, "little"),
                self._outputs_hash(index, base),
                transaction.lock_time.to_bytes(4, "little"),
                flags.to_bytes(4, "little"),
            )
        )

    def digest(self, index: int, source: Output, flags: int = ALL_FORKID) -> bytes:
        """The 32 bytes that are signed for an input that spends `source`."""
        return hash256(self.preimage(index, source, flags))


def sighash(transaction: Transaction, index: int, source: Output, flags: int = ALL_FORKID) -> bytes:
    """The digest for one input; `Sighasher` when several are wanted."""
    return Sighasher(transaction).digest(index, source, flags)


def fee_for(size_bytes: int, rate: int = FEE_RATE) -> int:
    """The least fee, in satoshis, at `rate` satoshis for 1000 bytes; never less than 1."""
    return max(1, -(-size_bytes * rate // 1000))


@dataclass(frozen=True, slots=True)
class _Spend:
    coin: Coin
    signer: Signer
    sequence: int
    flags: int


class TransactionBuilder:
    """Collects inputs and outputs; `build` adds change and signs."""

    def __init__(self, version: int = 1, lock_time: int = 0) -> None:
        self._version = version
        self._lock_time = lock_time
        self._spends: list[_Spend] = []
        self._outputs: list[Output] = []
        self._change_script: bytes | None = None
        self._rate = FEE_RATE

    def spend(self, coin: Coin, signer: Signer, sequence: int = FINAL_SEQUENCE, flags: int = ALL_FORKID) -> Self:
        self._spends.append(_Spend(coin, signer, sequence, flags))
        return self

    def pay(self, satoshis: int, script: bytes) -> Self:
        self._outputs.append(Output(satoshis, script))
        return self

    def change_to(self, script: bytes, rate: int = FEE_RATE) -> Self:
        """What is left after the fee, at `rate` satoshis for 1000 bytes, goes to a last output; when
        nothing is left there is none. Without a call of this, all that is left is the fee."""
        self._change_script = script
        self._rate = rate
        return self

    def build(self) -> Transaction:
        """The signed transaction; ValueError when the coins do not suffice."""
        outputs = [*self._outputs, *self._change()]
        draft = make_transaction(self._inputs(), outputs, self._version, self._lock_time)
        hasher = Sighasher(draft)
        scripts = [self._unlock(hasher, index) for index in range(len(self._spends))]
        return make_transaction(self._inputs(scripts), outputs, self._version, self._lock_time)

    def _inputs(self, scripts: Sequence[bytes] | None = None) -> list[Input]:
        return [
            Input(spend.coin.txid, spend.coin.index, scripts[index] if scripts else b"", spend.sequence)
            for index, spend in enumerate(self._spends)
        ]

    def _unlock(self, hasher: Sighasher, index: int) -> bytes:
        spend = self._spends[index]
        return spend.signer.unlock(hasher.digest(index, spend.coin.output, spend.flags), spend.flags)

    def _change(self) -> list[Output]:
        left = sum(spend.coin.output.satoshis for spend in self._spends)
        left -= sum(output.satoshis for output in self._outputs)
        if self._change_script is None:
            return self._enough(left, [])
        change = Output(0, self._change_script)
        value = left - fee_for(self._size([*self._outputs, change]), self._rate)
        if value > 0:
            return [Output(value, self._change_script)]
        return self._enough(left - fee_for(self._size(self._outputs), self._rate), [])

    @staticmethod
    def _enough(left: int, outputs: list[Output]) -> list[Output]:
        if left < 0:
            raise ValueError(f"{-left} satoshis are lacking")
        return outputs

    def _size(self, outputs: Sequence[Output]) -> int:
        """The signed size, at most."""
        inputs = sum(
            40 + len(write_varint(spend.signer.max_bytes)) + spend.signer.max_bytes for spend in self._spends
        )
        return 8 + len(write_varint(len(self._spends))) + inputs + len(serialize_outputs(outputs, counted=True))
