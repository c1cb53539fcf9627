"""The curve as the rules ask for it: `certificates.rules.Keys` on `overlay.keys`.

Several topics judge one transaction; what they ask is remembered, so that a signature is verified once.
The answers depend on the questions alone, so remembering them changes no judgement (I8).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final

from certificates.token import ISSUANCE_PROTOCOL, OWNER_PROTOCOL
from overlay import keys

REMEMBERED_SIGNATURES: Final = 4096
REMEMBERED_KEYS: Final = 1024


class Keychain:
    """Stateless; every instance answers alike."""

    def issuer_signed(self, issuer_key: bytes, text: bytes, signature: bytes, key_id: str) -> bool:
        return _issuer_signed(issuer_key, sha256(text).digest(), signature, key_id)

    def maker_signed(self, key: bytes, text: bytes, signature: bytes) -> bool:
        return keys.verify(signature, sha256(text).digest(), key)

    def owner_key(self, identity: bytes, key_id: str) -> bytes | None:
        return _owner_key(identity, key_id)


@lru_cache(REMEMBERED_SIGNATURES)
def _issuer_signed(issuer_key: bytes, digest: bytes, signature: bytes, key_id: str) -> bool:
    return keys.verify_for_anyone(signature, digest, issuer_key, ISSUANCE_PROTOCOL, key_id)


@lru_cache(REMEMBERED_KEYS)
def _owner_key(identity: bytes, key_id: str) -> bytes | None:
    try:
        return keys.derive_for_anyone(identity, OWNER_PROTOCOL, key_id)
    except (ValueError, RuntimeError):
        return None


def forget() -> None:
    """Empty the memory; for benchmarks of a first judgement."""
    _issuer_signed.cache_clear()
    _owner_key.cache_clear()
