"""What a signature covers: BIP143 digests, with FORKID."""

from __future__ import annotations

from enum import IntFlag
from functools import cached_property
from typing import Final

from overlay.sdk import hash256
from overlay.transaction import Output, Transaction
from overlay.wire import serialize_output, serialize_outputs, write_script

_NOTHING: Final = bytes(32)
_BASE_BITS: Final = 0x1F


class Sighash(IntFlag):
    """What a signature covers; the byte that ends it."""

    ALL = 0x01
    NONE = 0x02
    SINGLE = 0x03
    FORKID = 0x40
    ANYONE_CAN_PAY = 0x80


ALL_FORKID: Final = int(Sighash.ALL | Sighash.FORKID)
# As plain numbers: what a flag answers is a flag, made anew each time.
_ALL, _NONE, _SINGLE = int(Sighash.ALL), int(Sighash.NONE), int(Sighash.SINGLE)
_FORKID, _ANYONE_CAN_PAY = int(Sighash.FORKID), int(Sighash.ANYONE_CAN_PAY)


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
        if base == _SINGLE:
            return hash256(serialize_output(outputs[index])) if index < len(outputs) else _NOTHING
        return _NOTHING if base == _NONE else self._outputs

    def preimage(self, index: int, source: Output, flags: int = ALL_FORKID) -> bytes:
        """What is signed for an input that spends `source`; ValueError without FORKID."""
        if not flags & _FORKID:
            raise ValueError("signatures here are with FORKID")
        transaction, spent = self._transaction, self._transaction.inputs[index]
        alone, base = flags & _ANYONE_CAN_PAY, flags & _BASE_BITS
        return b"".join(
            (
                transaction.version.to_bytes(4, "little"),
                _NOTHING if alone else self._prevouts,
                self._sequences if not alone and base == _ALL else _NOTHING,
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
