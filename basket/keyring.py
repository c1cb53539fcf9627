"""Whose key a token is locked to, and how it is unlocked: BRC-42 from the node's key, nothing stored.

    account's identity   custodial: the node's child for ACCOUNT_PROTOCOL, the account's id and counterparty
                         `self`; bound: the user's own identity key
    token's owner key    the recipient's child for OWNER_PROTOCOL and the token's key ID, counterparty the node
    issuer's signature   the node's child for ISSUANCE_PROTOCOL and the issuance id, counterparty `anyone`
    bridge's receipts    the node's child for RECEIPT_PROTOCOL and the message's id in hex, counterparty `anyone`

A token's key ID is an HMAC of where it stands in which transaction, under the node's secret: to others it is
random, and the node finds it again when nothing is left but the chain.
"""

from __future__ import annotations

from base64 import b64encode
from functools import lru_cache
from hashlib import sha256
from typing import Final

from certificates.token import ISSUANCE_PROTOCOL, OWNER_PROTOCOL
from overlay.keys import Counterparty, PrivateKey, Tweaker, hmac_sha256

ACCOUNT_PROTOCOL: Final = (2, "metawatt account")
FUNDS_PROTOCOL: Final = (2, "metawatt funds")
RECEIPT_PROTOCOL: Final = (1, "metawatt bridge receipt")
_KEY_ID_TAG: Final = b"metawatt key id"
_WEBHOOK_TAG: Final = b"metawatt webhook "
_KEY_ID_BYTES: Final = 16
_REMEMBERED: Final = 4096


class Keyring:
    """The node's key in its roles: issuer, keeper of custodial accounts, sender of every token it makes."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.identity = key.public
        self._accounts = lru_cache(_REMEMBERED)(self._account)
        self._tweakers = lru_cache(_REMEMBERED)(lambda counterparty: Tweaker(key, counterparty))
        self._holders = lru_cache(_REMEMBERED)(lambda account, sender: Tweaker(self._accounts(account), sender))
        self._key_id_secret = hmac_sha256(key.secret, _KEY_ID_TAG)

    def account(self, account_id: str) -> PrivateKey:
        """The identity key of a custodial account."""
        return self._accounts(account_id)

    def _account(self, account_id: str) -> PrivateKey:
        return self._key.derive(ACCOUNT_PROTOCOL, account_id, "self")

    def key_id(self, outpoint: bytes, output_index: int) -> str:
        """The key ID of the token at `output_index` of the transaction whose input 0 spends `outpoint`."""
        place = outpoint + output_index.to_bytes(4, "little")
        return b64encode(hmac_sha256(self._key_id_secret, place)[:_KEY_ID_BYTES]).decode()

    def lock(self, recipient: bytes, key_id: str) -> bytes:
        """The owner key (33 bytes) that only `recipient`, an identity key, can unlock, with the node as sender."""
        return self._tweakers(recipient).their_public(OWNER_PROTOCOL, key_id)

    def own_lock(self, account_id: str, key_id: str) -> bytes:
        """`lock` for a custodial account, by the other, quicker way: from its private key."""
        return self.unlocking_key(account_id, key_id, self.identity).public

    def unlocking_key(self, account_id: str, key_id: str, sender: Counterparty) -> PrivateKey:
        """The key that spends a custodial account's token, which `sender` locked to it."""
        return self._holders(account_id, sender).own_key(OWNER_PROTOCOL, key_id)

    def bridge_key(self, key_id: str | None) -> PrivateKey:
        """The key of a certificate that was locked to the node itself, as a bridge: to its identity key as it is
        when there is no key ID."""
        if key_id is None:
            return self._key
        return self._tweakers("anyone").own_key(OWNER_PROTOCOL, key_id)

    def sign_issuance(self, issuance_id: str, text: bytes) -> bytes:
        """The issuer's DER signature of a token's signed text."""
        key = self._tweakers("anyone").own_key(ISSUANCE_PROTOCOL, issuance_id)
        return key.sign(sha256(text).digest())

    def sign_receipt(self, message_id_hex: str, text: bytes) -> bytes:
        """The bridge's DER signature of what a receipt states."""
        key = self._tweakers("anyone").own_key(RECEIPT_PROTOCOL, message_id_hex)
        return key.sign(sha256(text).digest())

    def webhook_secret(self, account_id: str) -> bytes:
        """What this node and an account's webhook share: 32 bytes."""
        return hmac_sha256(self._key.secret, _WEBHOOK_TAG + account_id.encode())

    def funds_key(self, key_id: str) -> PrivateKey:
        """The key of coins for fees."""
        return self._tweakers("self").own_key(FUNDS_PROTOCOL, key_id)
