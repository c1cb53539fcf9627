"""Keys, wallets and signatures as text: base58 of 32 and of 64 bytes."""

from __future__ import annotations

from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign_open
from nacl.exceptions import CryptoError
from solders.pubkey import Pubkey
from solders.signature import Signature

from config.errors import BadRequest, ErrorCode


class KeyInvalid(BadRequest):
    """A public key or a wallet's address cannot be used."""

    default_code = ErrorCode.KEY_INVALID


def public_key_bytes(text: str) -> bytes:
    """A meter's key, 32 B. `KeyInvalid` unless it is base58 of a point of the curve's large subgroup.

    A key of low order is refused here once and for all: there are signatures that hold under it for
    nearly any message.
    """
    key = address_bytes(text, "public_key")
    if not crypto_core_ed25519_is_valid_point(key):
        raise KeyInvalid("public_key is no point of the curve that can be a key")
    return key


def address_bytes(text: str, name: str = "wallet") -> bytes:
    """An address of Solana, 32 B; it may well be off the curve, as those of programs are."""
    try:
        address = Pubkey.from_string(text)
    except ValueError:
        raise KeyInvalid(f"{name} must be base58 of 32 bytes") from None
    return bytes(address)


def signature_bytes(text: str) -> bytes | None:
    """A signature, 64 B; None when this is no base58 of one."""
    try:
        return bytes(Signature.from_string(text))
    except ValueError:
        return None


def is_signed(message: bytes, signature: bytes, key: bytes) -> bool:
    """Whether it is the key's Ed25519 signature over the message."""
    try:
        crypto_sign_open(signature + message, key)
    except CryptoError:
        return False
    return True
