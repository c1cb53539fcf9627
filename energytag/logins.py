"""Logins with a wallet: the node sets a challenge, the wallet signs it (BRC-3), the node knows the user.

    challenge   version u8 | ends at u64 BE, epoch ms | identity key 33 B | nonce 16 B | HMAC-SHA256 of all this
    signature   `createSignature` of the challenge's bytes: protocol [2, "metawatt login"], counterparty the node,
                key ID the nonce in hex unless the login names another

The node keeps nothing of a challenge until it was answered rightly; then it keeps the nonce until the challenge
would have ended, so that no answer is good twice, whichever of the node's processes it comes to.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from config.errors import Unauthorized
from energytag.records import LOGINS
from energytag.users import user_of_identity
from overlay.clock import NowMs
from overlay.keys import PrivateKey, verify
from store.port import Conflict, Delete, Document, Find, Insert, Store, Write

LOGIN_PROTOCOL: Final = (2, "metawatt login")
_VERSION: Final = 1
_LAYOUT: Final = struct.Struct(">BQ33s16s")
_MAC_BYTES: Final = 32
_SECRET_TAG: Final = b"metawatt login challenges"
_FORGOTTEN_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a wallet is to sign, and with which key ID, until when (epoch milliseconds)."""

    raw: bytes
    key_id: str
    expires_ms: int


class Logins:
    """Sets challenges and judges what wallets answer."""

    def __init__(self, key: PrivateKey, challenge_secs: float, now_ms: NowMs) -> None:
        self._key = key
        self._secret = hmac.digest(key.secret, _SECRET_TAG, sha256)
        self._challenge_ms = int(challenge_secs * 1000)
        self._now_ms = now_ms

    def challenge(self, identity_key: bytes) -> Challenge:
        """A challenge for a wallet, whether or not it is a user's: that is not told before it has signed."""
        expires_ms = self._now_ms() + self._challenge_ms
        nonce = secrets.token_bytes(16)
        body = _LAYOUT.pack(_VERSION, expires_ms, identity_key, nonce)
        return Challenge(body + self._mac(body), nonce.hex(), expires_ms)

    async def login(self, store: Store, raw: bytes, signature: bytes, key_id: str | None = None) -> Document:
        """The user whose wallet signed the challenge (DER); `Unauthorized` says why there is none."""
        expires_ms, identity_key, nonce = self._read(raw)
        user = await user_of_identity(store, identity_key)
        if user is None:
            raise Unauthorized("No user of this registry has that wallet")
        public = self._key.derive_public(LOGIN_PROTOCOL, key_id or nonce.hex(), identity_key)
        if not verify(signature, sha256(raw).digest(), public):
            raise Unauthorized("The signature is not that of the wallet that asked for this challenge")
        await self._use(store, nonce, expires_ms)
        return user

    def _read(self, raw: bytes) -> tuple[int, bytes, bytes]:
        """When a challenge of this node's ends, whose it is, and its nonce."""
        body, mac = raw[: _LAYOUT.size], raw[_LAYOUT.size :]
        if len(mac) != _MAC_BYTES or not hmac.compare_digest(mac, self._mac(body)):
            raise Unauthorized("This is no challenge of this node's")
        _, expires_ms, identity_key, nonce = _LAYOUT.unpack(body)
        if self._now_ms() >= expires_ms:
            raise Unauthorized("This challenge has ended: ask for another one")
        return expires_ms, identity_key, nonce

    async def _use(self, store: Store, nonce: bytes, expires_ms: int) -> None:
        """Take note that a challenge was used, and forget some of those that have ended."""
        ended = await store.find(LOGINS, Find("expires", upper=self._now_ms(), limit=_FORGOTTEN_AT_ONCE))
        writes: list[Write] = [Delete(LOGINS, row["_id"]) for row in ended.documents]
        try:
            await store.commit([Insert(LOGINS, {"_id": nonce, "expires_ms": expires_ms}), *writes])
        except Conflict:
            raise Unauthorized("This challenge was used already: ask for another one") from None

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, sha256)
