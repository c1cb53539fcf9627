"""A transaction's record as the store keeps it: MessagePack arrays, with keys and signatures as their bytes."""

from __future__ import annotations

from typing import Any, Final

from msgspec import msgpack
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.cluster.executed import Executed


def _key_bytes(value: Any) -> bytes:
    if isinstance(value, Pubkey | Signature):
        return bytes(value)
    raise NotImplementedError(f"a record holds no {type(value).__name__}")


def _key(kind: type[Any], value: Any) -> Any:
    return kind(value)


_encoder: Final = msgpack.Encoder(enc_hook=_key_bytes)
_decoder: Final = msgpack.Decoder(Executed, dec_hook=_key)


def packed(executed: Executed) -> bytes:
    """All of a record, bytes."""
    return _encoder.encode(executed)


def unpacked(body: bytes) -> Executed:
    """The record that `packed` made these bytes of."""
    return _decoder.decode(body)
