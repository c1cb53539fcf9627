"""From pieces to a signed transaction: where each token stands, how it is locked, what is signed.

Inputs: the coins of moves, in the order of the pieces, then coins for the fee. Outputs: those of the pieces, in
order, then change. Input 0 gives issuance ids and key IDs, so all of it follows from the pieces and input 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from basket.funds import Change, FundCoin, Funding
from basket.keyring import Keyring
from certificates.issuance import issue_draft, withdraw
from certificates.lifecycle import Status
from certificates.token import OWNER_PROTOCOL, TOKEN_SATOSHIS, Token, encode_fields
from certificates.withdrawal import Withdrawal
from energytag.plan import Holder, Holding, Issue, Lock, Made, Move, Notice, Part, Piece
from overlay import pushdrop
from overlay.builder import Coin, P2pkhSigner, PushDropSigner, TransactionBuilder, fee_for, write_beef
from overlay.keys import Counterparty, PrivateKey, derive_for_anyone
from overlay.transaction import Transaction, outpoint

ANYONE: Final = b"anyone"
_OUTPUT_BYTES: Final = 2600
_INPUT_BYTES: Final = 160
_FRAME_BYTES: Final = 400


@dataclass(frozen=True, slots=True)
class Composed:
    """A signed transaction in its envelope, and what it makes, output by output; `change` is None when
    nothing was left."""

    transaction: Transaction
    beef: bytes
    made: tuple[Made, ...]
    change: FundCoin | None


def satoshis_for(pieces: Sequence[Piece], fee_rate: int) -> int:
    """What a transaction of these pieces may cost at most."""
    outputs = sum(piece.outputs for piece in pieces)
    size = _FRAME_BYTES + outputs * _OUTPUT_BYTES + len(pieces) * _INPUT_BYTES
    return outputs * TOKEN_SATOSHIS + fee_for(size, fee_rate)


def first_outpoint(pieces: Iterable[Piece], funding: Funding) -> bytes:
    """What input 0 of the pieces' transaction spends."""
    moved = next((piece.holding.outpoint for piece in pieces if isinstance(piece, Move)), None)
    return funding.coins[0].outpoint if moved is None else moved


def compose(
    pieces: Sequence[Piece], made: Sequence[Made], funding: Funding, change: Change, fee_rate: int, keyring: Keyring
) -> Composed:
    """The transaction of the pieces, which are laid out as `made`, paid by `funding`; ValueError when that does
    not suffice."""
    builder = TransactionBuilder()
    _spend(builder, pieces, funding, keyring)
    for each in made:
        builder.pay(TOKEN_SATOSHIS, each.script)
    transaction = builder.change_to(change.script, fee_rate, change.least_satoshis).build()
    made = [_placed(each, transaction.txid, index) for index, each in enumerate(made)]
    sources = [(source, None if bump is None else bump.raw) for source, bump in funding.sources]
    beef = write_beef([*sources, (transaction, None)])
    return Composed(transaction, beef, tuple(made), _change_of(transaction, len(made), change))


def lay_out(pieces: Iterable[Piece], first_outpoint: bytes, keyring: Keyring) -> list[Made]:
    """The outputs of the pieces, in order, for a transaction whose input 0 spends `first_outpoint`. The
    transaction's id is not known yet: each `outpoint` has zeros in its place."""
    made: list[Made] = []
    for piece in pieces:
        made += _outputs(piece, first_outpoint, len(made), keyring)
    return made


def _placed(made: Made, txid: bytes, index: int) -> Made:
    return Made(outpoint(txid, index), made.token, made.script, made.holder, made.lock)


def _spend(builder: TransactionBuilder, pieces: Iterable[Piece], funding: Funding, keyring: Keyring) -> None:
    for piece in pieces:
        if isinstance(piece, Move):
            builder.spend(piece.holding.coin, PushDropSigner(_unlocking_key(piece.holding, keyring)))
    for each in funding.coins:
        builder.spend(each.coin, P2pkhSigner(keyring.funds_key(each.key_id)))


def _unlocking_key(holding: Holding, keyring: Keyring) -> PrivateKey:
    if holding.token.bundle.status is Status.LOCKED:
        return keyring.bridge_key(holding.key_id)
    assert holding.key_id is not None
    assert holding.sender is not None
    sender: Counterparty = "anyone" if holding.sender == ANYONE else holding.sender
    return keyring.unlocking_key(holding.account_id, holding.key_id, sender)


def _outputs(piece: Piece, first_outpoint: bytes, index: int, keyring: Keyring) -> Iterator[Made]:
    match piece:
        case Issue():
            yield made_of(
                piece, forge(piece, first_outpoint, index, keyring), first_outpoint, index, keyring.identity
            )
        case Notice():
            notice = withdraw(
                piece.token, piece.part, piece.reason, locking_key=keyring.identity, reissued_as=piece.reissued_as
            )
            yield _made(notice.with_signature(keyring.sign_issuance(notice.issuance_id, notice.signed_text)))
        case Move():
            for offset, part in enumerate(piece.parts):
                yield _successor(piece.holding.token, part, first_outpoint, index + offset, keyring)


class Forged(NamedTuple):
    """What an issuance needs of the node's key: how it is locked, the issuer's signature, and the whole script."""

    owner_key: bytes
    key_id: str
    sender: bytes
    signature: bytes
    script: bytes


def forge(piece: Issue, first_outpoint: bytes, index: int, keyring: Keyring) -> Forged:
    """Sign the issuance that stands at `index`."""
    lock = _lock_of(piece, first_outpoint, index, keyring)
    token = _issued(piece, lock.owner_key, first_outpoint, index, keyring.identity)
    token = token.with_signature(keyring.sign_issuance(token.issuance_id, token.signed_text))
    script = pushdrop.lock(token.locking_key, encode_fields(token))
    return Forged(lock.owner_key, lock.key_id, lock.sender, token.signature, script)


def made_of(piece: Issue, forged: Forged, first_outpoint: bytes, index: int, issuer: bytes) -> Made:
    """The output of an issuance that was signed."""
    token = _issued(piece, forged.owner_key, first_outpoint, index, issuer).with_signature(forged.signature)
    if piece.owner_key:
        return Made(bytes(36), token, forged.script)
    return Made(bytes(36), token, forged.script, piece.holder, Lock(forged.owner_key, forged.key_id, forged.sender))


def _lock_of(piece: Issue, first_outpoint: bytes, index: int, keyring: Keyring) -> Lock:
    if piece.owner_key:
        return Lock(piece.owner_key, "", b"")
    return lock_for(piece.holder, first_outpoint, index, keyring)


def _issued(piece: Issue, owner_key: bytes, first_outpoint: bytes, index: int, issuer: bytes) -> Token:
    return issue_draft(
        piece.draft,
        piece.issued,
        spends=first_outpoint,
        output_index=index,
        issuer_key=issuer,
        locking_key=owner_key,
        origin=piece.origin,
        extras=piece.extras,
    )


def _successor(token: Token, part: Part, first_outpoint: bytes, index: int, keyring: Keyring) -> Made:
    if part.holder is None:
        return _made(part.make(token, Lock(part.owner_key, "", b"")))
    lock = lock_for(part.holder, first_outpoint, index, keyring, is_open=part.is_open)
    return _made(part.make(token, lock), part.holder, lock)


def lock_for(holder: Holder, first_outpoint: bytes, index: int, keyring: Keyring, *, is_open: bool = False) -> Lock:
    """How the output at `index` is locked to an account."""
    key_id = keyring.key_id(first_outpoint, index)
    if is_open:
        return Lock(derive_for_anyone(holder.identity, OWNER_PROTOCOL, key_id), key_id, ANYONE)
    if holder.is_custodial:
        return Lock(keyring.own_lock(holder.account_id, key_id), key_id, keyring.identity)
    return Lock(keyring.lock(holder.identity, key_id), key_id, keyring.identity)


def _made(token: Token | Withdrawal, holder: Holder | None = None, lock: Lock | None = None) -> Made:
    script = pushdrop.lock(token.locking_key, encode_fields(token))
    return Made(bytes(36), token if isinstance(token, Token) else None, script, holder, lock)


def _change_of(transaction: Transaction, index: int, change: Change) -> FundCoin | None:
    if index >= len(transaction.outputs):
        return None
    return FundCoin(Coin(transaction.txid, index, transaction.outputs[index]), change.key_id)
