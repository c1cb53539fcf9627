"""Successors: the tokens that a holder puts in place of one that is spent.

Each function gives new values and checks no rule; admission does. A successor keeps the issuer's key and
signature and every immutable attribute. The holder's own `private` member is never passed on, a `note` is, unless
it is so long that the next document might have no room for what its holder has to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from certificates import ranges
from certificates.canonical import canonical
from certificates.document import Json
from certificates.lifecycle import Status
from certificates.ranges import Range
from certificates.token import Token

MOST_NOTE_BYTES: Final = 4096
"""Canonical JSON of a note that is passed on."""


def succeed(
    token: Token,
    locking_key: bytes,
    *,
    status: Status | None = None,
    part: Range | None = None,
    account_id: str | None = None,
    extras: Mapping[str, Json] | None = None,
) -> Token:
    """A successor with some mutable attributes changed; `extras` are added to the note."""
    changes: dict[str, Any] = {}
    if status is not None:
        changes["certificate_status"] = status.value
    if account_id is not None:
        changes["account_id"] = account_id
    if part is not None:
        changes["bundle_id_range_start"], changes["bundle_id_range_end"] = part
        changes["bundle_quantity"] = part.quantity
    kept = {} if token.note is None or len(canonical(token.note)) > MOST_NOTE_BYTES else {"note": token.note}
    bundle = token.bundle.changed(**changes)
    return replace(token, locking_key=locking_key, bundle=bundle, extras={**kept, **(extras or {})})


def transfer(token: Token, locking_key: bytes, account_id: str | None = None) -> Token:
    """The whole certificate to another key, and account."""
    return succeed(token, locking_key, account_id=account_id)


def split(token: Token, sizes: Sequence[int], locking_keys: Sequence[bytes]) -> list[Token]:
    """Consecutive parts of these sizes, each to its key; ValueError unless they add up to the whole."""
    parts = ranges.split(token.bundle.range, sizes)
    return [succeed(token, key, part=part) for part, key in zip(parts, locking_keys, strict=True)]


def merge(tokens: Sequence[Token], locking_key: bytes) -> Token:
    """One token in place of neighbouring parts of one issuance; ValueError when they are not."""
    merged = ranges.merge(token.bundle.range for token in tokens)
    if len({token.issuance_id for token in tokens}) != 1 or len(merged) != 1:
        raise ValueError("only neighbouring parts of one issuance can be merged")
    return succeed(tokens[0], locking_key, part=merged[0])


def reserve(token: Token, locking_key: bytes) -> Token:
    return succeed(token, locking_key, status=Status.RESERVED)


def release(token: Token, locking_key: bytes) -> Token:
    """A reserved certificate, Active again."""
    return succeed(token, locking_key, status=Status.ACTIVE)


def cancel(token: Token, beneficiary: Json, locking_key: bytes) -> Token:
    """A retirement in favour of `beneficiary`: a name, or `{"name"?, "identity_key", "key_id"?}`;
    `locking_key` is the beneficiary's, who alone can claim."""
    return succeed(token, locking_key, status=Status.CANCELLED, extras={"beneficiary": beneficiary})


def claim(token: Token, locking_key: bytes) -> Token:
    """The beneficiary's claim on a cancelled certificate."""
    return succeed(token, locking_key, status=Status.CLAIMED, extras={"beneficiary": token.beneficiary})


def lock(token: Token, bridge_lock: bytes, leaving: Mapping[str, Json]) -> Token:
    """A certificate handed to a bridge: `leaving` is `exit`, with `chain` and `address`, with `key_id` when
    `bridge_lock` is derived from the bridge's identity key, and with `owner` to bind a refund to a key."""
    return succeed(token, bridge_lock, status=Status.LOCKED, extras={"exit": dict(leaving)})


def refund(token: Token, locking_key: bytes) -> Token:
    """The bridge gives a locked certificate back."""
    return succeed(token, locking_key, status=Status.ACTIVE)


def complete(token: Token, transaction: str, locking_key: bytes) -> Token:
    """The bridge's statement that a locked certificate lives on as `transaction` of the other chain."""
    leaving = {**token.exit, "transaction": transaction}
    return succeed(token, locking_key, status=Status.WITHDRAWN, extras={"exit": leaving})
