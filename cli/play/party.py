"""The parties of the play: who issues, holds, moves and cancels certificates, with keys of their own."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from certificates import successor
from certificates.bundle import Bundle
from certificates.ranges import Range
from certificates.token import (
    ISSUANCE_PROTOCOL,
    OWNER_PROTOCOL,
    TOKEN_SATOSHIS,
    Token,
    encode_fields,
    issuance_id_for,
)
from cli.play.client import Found
from cli.play.plants import Meter
from overlay import pushdrop
from overlay.builder import (
    P2pkhSigner,
    PushDropSigner,
    TransactionBuilder,
    p2pkh_lock,
    write_beef,
)
from overlay.envelope import Envelope
from overlay.keys import Counterparty, PrivateKey
from overlay.transaction import Transaction, outpoint


@dataclass(frozen=True, slots=True)
class OwnerKey:
    """How a token's key was derived, from whom to whom; a wallet keeps it as custom instructions."""

    key_id: str
    sender: Counterparty
    public: bytes


@dataclass(frozen=True, slots=True)
class Holding:
    """A certificate that a party can spend: the proven output, and how to unlock it."""

    found: Found
    lock: OwnerKey


@dataclass(frozen=True, slots=True)
class Made:
    """A signed transaction, ready to submit, and the keys of its certificates by output index."""

    transaction: Transaction
    beef: bytes
    locks: tuple[OwnerKey, ...] = ()


@dataclass(slots=True)
class Party:
    """A wallet in small: a name, an identity key, and mined coins for fees."""

    name: str
    key: PrivateKey
    coins: list[Found] = field(default_factory=list)

    @property
    def script(self) -> bytes:
        """Where coins for fees go."""
        return p2pkh_lock(self.key.public)

    def lock_for(self, recipient: bytes) -> OwnerKey:
        """A fresh key of the recipient's, which only the recipient can unlock."""
        key_id = b64encode(secrets.token_bytes(16)).decode()
        return OwnerKey(key_id, self.key.public, self.key.derive_public(OWNER_PROTOCOL, key_id, recipient))

    def issue(self, meter: Meter, owner: bytes) -> Made:
        """Issue the meter's hours to `owner`, one output an hour."""
        funds = self.coins.pop()
        spent = outpoint(funds.coin.txid, funds.coin.index)
        builder = TransactionBuilder().spend(funds.coin, P2pkhSigner(self.key))
        locks = []
        for index, (start, energy_wh) in enumerate(meter.hours()):
            lock = self.lock_for(owner)
            bundle = Bundle.read(meter.bundle(start, energy_wh, issuance_id_for(spent, index)))
            builder.pay(TOKEN_SATOSHIS, _script(self._signed(bundle, lock)))
            locks.append(lock)
        return made(builder.change_to(self.script).build(), [funds.envelope], locks)

    def _signed(self, bundle: Bundle, lock: OwnerKey) -> Token:
        draft = Token(lock.public, bundle, Range.of(1, bundle.quantity), self.key.public)
        signer = self.key.derive(ISSUANCE_PROTOCOL, bundle.issuance_id, "anyone")
        return draft.with_signature(signer.sign(sha256(draft.signed_text).digest()))

    def split(self, holding: Holding, sizes: Sequence[int], owners: Sequence[bytes]) -> Made:
        """Split a certificate into parts for these owners."""
        locks = [self.lock_for(owner) for owner in owners]
        parts = successor.split(holding.found.token, sizes, [lock.public for lock in locks])
        return self._replace(holding, parts, locks)

    def cancel(self, holding: Holding, beneficiary: str) -> Made:
        """Cancel a certificate in this party's own favour, stating it in public."""
        key_id = b64encode(secrets.token_bytes(16)).decode()
        lock = self.key.derive(OWNER_PROTOCOL, key_id, "anyone").public
        named = {"name": beneficiary, "identity_key": self.key.public.hex(), "key_id": key_id}
        return self._replace(holding, [successor.cancel(holding.found.token, named, lock)])

    def _replace(self, holding: Holding, tokens: Sequence[Token], locks: Sequence[OwnerKey] = ()) -> Made:
        """Spend a certificate; these tokens take its place."""
        funds = self.coins.pop()
        unlocking = self.key.derive(OWNER_PROTOCOL, holding.lock.key_id, holding.lock.sender)
        builder = TransactionBuilder().spend(holding.found.coin, PushDropSigner(unlocking))
        builder.spend(funds.coin, P2pkhSigner(self.key))
        for token in tokens:
            builder.pay(TOKEN_SATOSHIS, _script(token))
        transaction = builder.change_to(self.script).build()
        return made(transaction, [holding.found.envelope, funds.envelope], locks)


def _script(token: Token) -> bytes:
    return pushdrop.lock(token.locking_key, encode_fields(token))


def made(transaction: Transaction, sources: Sequence[Envelope], locks: Sequence[OwnerKey]) -> Made:
    """A transaction that spends from the subjects of `sources`, with a BEEF of their ancestry, each once."""
    members = {member.transaction.txid: member for source in sources for member in source.ancestry()}
    proven = [(member.transaction, member.bump.raw if member.bump else None) for member in members.values()]
    return Made(transaction, write_beef([*proven, (transaction, None)]), tuple(locks))
