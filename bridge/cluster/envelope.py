"""A transaction as it arrives: bounded, read, and its signatures checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from solders.message import Message, MessageV0
from solders.signature import Signature
from solders.transaction import SanitizeError, VersionedTransaction

from bridge.cluster.refusals import BadSignature, Malformed

MAX_TRANSACTION_BYTES: Final = 1232


@dataclass(frozen=True, slots=True)
class Envelope:
    """A transaction and the bytes it came in."""

    raw: bytes
    transaction: VersionedTransaction

    @classmethod
    def trusted(cls, raw: bytes) -> Envelope:
        """Of bytes that were opened before."""
        return cls(raw, VersionedTransaction.from_bytes(raw))

    @property
    def signature(self) -> Signature:
        return self.transaction.signatures[0]


def opened(raw: bytes) -> Envelope:
    """Read a legacy or version 0 transaction. Raises `Malformed`."""
    if len(raw) > MAX_TRANSACTION_BYTES:
        raise Malformed(f"base64 encoded too large: {len(raw)} bytes (max: {MAX_TRANSACTION_BYTES} bytes)")
    try:
        transaction = VersionedTransaction.from_bytes(raw)
    except ValueError as error:
        raise Malformed(f"failed to deserialize VersionedTransaction: {error}") from error
    if not isinstance(transaction.message, Message | MessageV0):
        raise Malformed("unsupported transaction version")
    if bytes(transaction) != raw:
        raise Malformed("failed to deserialize VersionedTransaction: trailing bytes")
    try:
        transaction.sanitize()
    except SanitizeError as error:
        raise Malformed(f"invalid transaction: {error}") from error
    return Envelope(raw, transaction)


def check_signatures(envelope: Envelope) -> None:
    """Raises `BadSignature` unless every required signature fits."""
    if not all(envelope.transaction.verify_with_results()):
        raise BadSignature
