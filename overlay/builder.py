"""Building and signing transactions: coins in, outputs out, change by a fee rate.

    draft = TransactionBuilder().spend(coin, P2pkhSigner(key)).pay(1, script).change_to(own_script)
    transaction = draft.build()

Signatures are BIP143 with FORKID, over every input and output unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self

from overlay import pushdrop
from overlay.keys import PrivateKey
from overlay.sdk import hash160
from overlay.sighash import ALL_FORKID, Sighash, Sighasher, sighash
from overlay.transaction import Input, Output, Transaction
from overlay.varint import write_varint
from overlay.wire import (
    make_transaction,
    parse,
    parse_extended,
    serialize,
    serialize_outputs,
    to_extended,
    write_beef,
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
        self._least_change = 1
        self._rate = FEE_RATE

    def spend(self, coin: Coin, signer: Signer, sequence: int = FINAL_SEQUENCE, flags: int = ALL_FORKID) -> Self:
        self._spends.append(_Spend(coin, signer, sequence, flags))
        return self

    def pay(self, satoshis: int, script: bytes) -> Self:
        self._outputs.append(Output(satoshis, script))
        return self

    def change_to(self, script: bytes, rate: int = FEE_RATE, least: int = 1) -> Self:
        """What is left after the fee, at `rate` satoshis for 1000 bytes, goes to a last output; when less than
        `least` satoshis are left there is none. Without a call of this, all that is left is the fee."""
        self._change_script = script
        self._least_change = least
        self._rate = rate
        return self

    def build(self) -> Transaction:
        """The signed transaction; ValueError when the coins do not suffice."""
        outputs = [*self._outputs, *self._change()]
        # Nobody asks a draft for its bytes or its id.
        draft = Transaction(b"", b"", self._version, tuple(self._inputs()), tuple(outputs), self._lock_time)
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
        if value >= self._least_change:
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
