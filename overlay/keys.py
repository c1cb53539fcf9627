"""Keys, signatures and BRC-42 derivation on the SDK's native curve.

A public key is 33 bytes, compressed. A signature is DER over a 32-byte digest, low-S, RFC 6979. Protocols
are BRC-43 pairs of a security level and a name.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from overlay.sdk import native

Protocol: TypeAlias = tuple[int, str]
Counterparty: TypeAlias = bytes | Literal["self", "anyone"]

CURVE_ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_ONE = (1).to_bytes(32, "big")
ANYONE_PUBLIC: Final[bytes] = native.pubkey_from_secret(_ONE)


def invoice_number(protocol: Protocol, key_id: str) -> str:
    """BRC-43: `<level>-<protocol name>-<key id>`, the name trimmed and in lower case."""
    return f"{protocol[0]}-{protocol[1].strip().lower()}-{key_id}"


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """32 bytes. Unlike the standard library's, it keeps the interpreter, which is dear to get back."""
    return bytes(native.hmac_sha256(key, message))


def _tweak(shared: bytes, invoice: str) -> bytes:
    return hmac_sha256(shared, invoice.encode())


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A private key; never shown by `repr`."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != 32 or not native.seckey_verify(self.secret):
            raise ValueError("a private key is 32 bytes, above 0 and below the curve's order")

    @classmethod
    def generate(cls) -> PrivateKey:
        return cls(secrets.token_bytes(32))

    @classmethod
    def from_hex(cls, text: str) -> PrivateKey:
        return cls(bytes.fromhex(text))

    @classmethod
    def from_int(cls, number: int) -> PrivateKey:
        return cls(number.to_bytes(32, "big"))

    @property
    def public(self) -> bytes:
        return bytes(native.pubkey_from_secret(self.secret))

    def sign(self, digest: bytes) -> bytes:
        """DER signature of a 32-byte digest."""
        return bytes(native.ecdsa_sign(digest, self.secret))

    def _shared(self, counterparty: Counterparty) -> bytes:
        other = self._resolve(counterparty)
        return bytes(native.pubkey_tweak_mul(other, self.secret))

    def _resolve(self, counterparty: Counterparty) -> bytes:
        if counterparty == "self":
            return self.public
        if counterparty == "anyone":
            return ANYONE_PUBLIC
        assert isinstance(counterparty, bytes)
        return counterparty

    def derive(self, protocol: Protocol, key_id: str, counterparty: Counterparty) -> PrivateKey:
        """BRC-42: this party's own child key for dealings with `counterparty`."""
        tweak = _tweak(self._shared(counterparty), invoice_number(protocol, key_id))
        return PrivateKey(bytes(native.seckey_tweak_add(self.secret, tweak)))

    def derive_public(self, protocol: Protocol, key_id: str, counterparty: Counterparty) -> bytes:
        """BRC-42: the counterparty's child public key, as this party computes it."""
        other = self._resolve(counterparty)
        tweak = _tweak(bytes(native.pubkey_tweak_mul(other, self.secret)), invoice_number(protocol, key_id))
        return bytes(native.pubkey_tweak_add(other, tweak))


class Tweaker:
    """Derivation between one key and one counterparty. What they share is computed once, which spares each
    further key a multiplication on the curve."""

    def __init__(self, key: PrivateKey, counterparty: Counterparty) -> None:
        self._key = key
        self._other = key._resolve(counterparty)
        self._shared = bytes(native.pubkey_tweak_mul(self._other, key.secret))

    def own_key(self, protocol: Protocol, key_id: str) -> PrivateKey:
        """As `PrivateKey.derive`."""
        tweak = _tweak(self._shared, invoice_number(protocol, key_id))
        return PrivateKey(bytes(native.seckey_tweak_add(self._key.secret, tweak)))

    def their_public(self, protocol: Protocol, key_id: str) -> bytes:
        """As `PrivateKey.derive_public`."""
        tweak = _tweak(self._shared, invoice_number(protocol, key_id))
        return bytes(native.pubkey_tweak_add(self._other, tweak))


def derive_for_anyone(identity: bytes, protocol: Protocol, key_id: str) -> bytes:
    """The child public key of `identity` towards counterparty `anyone`: with the private key 1 the shared
    secret is the identity key itself, so everybody can compute it."""
    return bytes(native.pubkey_tweak_add(identity, _tweak(identity, invoice_number(protocol, key_id))))


def verify(signature: bytes, digest: bytes, public: bytes) -> bool:
    """Whether a DER signature of a 32-byte digest is valid; False for anything malformed."""
    try:
        return bool(native.ecdsa_verify(signature, digest, public))
    except (ValueError, RuntimeError):
        return False


def verify_for_anyone(signature: bytes, digest: bytes, identity: bytes, protocol: Protocol, key_id: str) -> bool:
    """`verify` under `derive_for_anyone(identity, protocol, key_id)`, without deriving that key.

    With Q' = Q + hG, the check (z/s)G + (r/s)Q' is ((z + rh)/s)G + (r/s)Q: the signature holds for z under Q'
    just when it holds for z + rh under Q. That spares a multiplication on the curve, a third of the cost.
    """
    if len(signature) < 8 or signature[0] != 0x30 or signature[2] != 0x02:
        return False
    r = int.from_bytes(signature[4 : 4 + signature[3]], "big")
    tweak = int.from_bytes(_tweak(identity, invoice_number(protocol, key_id)), "big")
    shifted = (int.from_bytes(digest, "big") + r * tweak) % CURVE_ORDER
    return verify(signature, shifted.to_bytes(32, "big"), identity)


def is_public_key(value: bytes) -> bool:
    """Whether these are 33 bytes of a point on the curve."""
    if len(value) != 33:
        return False
    try:
        native.pubkey_parse(value)
    except (ValueError, RuntimeError):
        return False
    return True
