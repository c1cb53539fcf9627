"""A locking script as people read it: the address text of a P2PKH output."""

from __future__ import annotations

from typing import Final

from config.settings import Network
from overlay.sdk import hash160, hash256

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PREFIXES: Final[dict[Network, int]] = {"main": 0x00, "test": 0x6F, "dev": 0x6F}


def p2pkh_address(public_key: bytes, network: Network) -> str:
    """The address that pays to a public key's hash, in Base58Check; the dev network writes test addresses."""
    payload = bytes((_PREFIXES[network],)) + hash160(public_key)
    return _base58(payload + hash256(payload)[:4])


def _base58(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _ALPHABET[digit] + digits
    zeros = len(data) - len(data.lstrip(b"\x00"))
    return _ALPHABET[0] * zeros + digits
