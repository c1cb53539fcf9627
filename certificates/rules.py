"""The rules for one certificate and for one step of its life. Each answers with the reason against, or None.

**Whose key.** Owner keys are derived afresh for each token, so third parties cannot tell whose a lock is,
unless told how it was derived. A token is *locked to* an identity key when its locking key either is that
key, or is that key's child for `OWNER_PROTOCOL`, counterparty `anyone`, and a key ID that the token states.
Compared are:

- a bridge's lock: against each bridge key of the policy, with the key ID in `exit.key_id`;
- a beneficiary given as an object with `identity_key`: against that key, with `beneficiary.key_id`.

A beneficiary given as text is a name and nothing is compared: the locking key of the Cancelled output is
then the beneficiary's by the canceller's own statement. Only that key can claim, because a claim spends
the output and its script demands the key's signature.

**Whose refund.** The owner signs the transaction that locks, and may name in `exit.owner` the key (33 bytes,
hex) that a refund goes to; a refund to another key is then refused. Without it the bridge is trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from certificates.bundle import Bundle
from certificates.canonical import canonical
from certificates.document import Json
from certificates.lifecycle import Status, may_follow
from certificates.policy import Policy
from certificates.token import Token, issuance_id_for

MAX_INTERVAL: Final = timedelta(hours=1)
_MICROSECOND: Final = timedelta(microseconds=1)
_HOUR_US: Final = MAX_INTERVAL // _MICROSECOND


class Keys(Protocol):
    """The curve, handed in: pure functions of their arguments that answer, and never raise."""

    def issuer_signed(self, issuer_key: bytes, text: bytes, signature: bytes, key_id: str) -> bool:
        """Whether `issuer_key` signed `text` with `ISSUANCE_PROTOCOL`, counterparty `anyone`."""
        ...

    def maker_signed(self, key: bytes, text: bytes, signature: bytes) -> bool:
        """Whether the key itself signed `text` (the first METAWATT tokens)."""
        ...

    def owner_key(self, identity: bytes, key_id: str) -> bytes | None:
        """The child of `identity` for `OWNER_PROTOCOL`, counterparty `anyone`; None when it has none."""
        ...


def against_issuance(token: Token, outpoint: bytes, output_index: int, policy: Policy, keys: Keys) -> str | None:
    """Rule 1. `outpoint` is what the transaction's input 0 spends, 36 bytes.

    Several topics ask the same of one token: the last answer is kept with it.
    """
    place = outpoint, output_index
    last = token.last_answer
    if isinstance(last, Answer) and last.place == place and last.policy is policy and last.keys is keys:
        return last.reason
    reason = _against_issuance(token, outpoint, output_index, policy, keys)
    token.remember(Answer(place, policy, keys, reason))
    return reason


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked of a token, and the reason against it, None when there is none."""

    place: tuple[bytes, int]
    policy: Policy
    keys: Keys
    reason: str | None


def _against_issuance(token: Token, outpoint: bytes, output_index: int, policy: Policy, keys: Keys) -> str | None:
    """The signature comes last, being the dearest to check."""
    bundle = token.bundle
    if token.issuance_id != issuance_id_for(outpoint, output_index):
        return "the issuance id is neither derived from this output nor carried by a spent coin"
    if not policy.trusts(token.issuer_key, bundle.country):
        return f"the issuer {token.issuer_key.hex()} is not trusted for {bundle.country}"
    if bundle.status is not Status.ACTIVE:
        return f"a certificate is issued Active, not {bundle.status}"
    if bundle.range != token.issued:
        return f"the range {bundle.range} is not the issued range {token.issued}"
    reason = against_quantity(bundle) or against_capacity(bundle, policy)
    if reason is None and not signature_holds(token, keys):
        reason = "the issuer's signature does not verify"
    return reason


def signature_holds(token: Token, keys: Keys) -> bool:
    return keys.issuer_signed(token.issuer_key, token.signed_text, token.signature, token.issuance_id)


def against_quantity(bundle: Bundle) -> str | None:
    """The quantity must be what the range has."""
    if bundle.quantity != bundle.range.quantity:
        return f"bundle_quantity {bundle.quantity} is not the {bundle.range.quantity} of range {bundle.range}"
    return None


def against_capacity(bundle: Bundle, policy: Policy) -> str | None:
    """The interval must be above 0 and at most an hour, and the energy no more than the device can make in
    it, within the margin. Exact: quantity × face value × 1 h ≤ capacity × interval × margin."""
    start, end = bundle.period
    length = end - start
    if not timedelta() < length <= MAX_INTERVAL:
        return f"the production interval is {length}; it must be longer than 0 and at most one hour"
    margin = policy.margin(bundle.technology)
    made = bundle.energy_wh * _HOUR_US * margin.denominator
    if made > bundle.capacity_w * (length // _MICROSECOND) * margin.numerator:
        return f"{bundle.energy_wh} Wh is more than {bundle.capacity_w} W can make in {length}, times {margin}"
    return None


def against_state(token: Token, policy: Policy, keys: Keys) -> str | None:
    """What the status of a successor demands of the token itself (rules 3 and 5)."""
    status = token.bundle.status
    if status in (Status.CANCELLED, Status.CLAIMED):
        return _against_beneficiary(token, keys)
    if status is Status.LOCKED:
        return _against_lock(token, policy, keys)
    if status is Status.WITHDRAWN and not _is_text(_member(token.exit, "transaction")):
        return "a Withdrawn certificate names the destination's transaction in exit.transaction"
    return None


def against_step(before: Token, after: Token) -> str | None:
    """Rules 2, 3 and 5 for one coin and one output that takes part of its range."""
    was, now = before.bundle.status, after.bundle.status
    if not may_follow(was, now, before.bundle.registry_configuration):
        final = " (final under registry configuration 2)" if was is Status.RESERVED else ""
        return f"{was} cannot become {now}{final}"
    if now is Status.CLAIMED and not same(before.beneficiary, after.beneficiary):
        return "a claim names another beneficiary than the cancellation"
    if was is Status.LOCKED:
        return _against_unlock(before, after)
    return None


def provenance(token: Token) -> tuple[bytes, bytes, bytes]:
    """What every part of an issuance has in common: signed text, issuer, signature."""
    return token.signed_text, token.issuer_key, token.signature


def same(left: Json, right: Json) -> bool:
    """Whether two JSON values are one to every reader (`1` and `1.0` are, `1` and `true` are not)."""
    return canonical(left) == canonical(right)


def locked_to(token: Token, identity: bytes, key_id: Json, keys: Keys) -> bool:
    """Whether the token is locked to that identity key, as the head of this module tells."""
    if token.locking_key == identity:
        return True
    return type(key_id) is str and keys.owner_key(identity, key_id) == token.locking_key


def _against_beneficiary(token: Token, keys: Keys) -> str | None:
    beneficiary = token.beneficiary
    if _is_text(beneficiary):
        return None
    if type(beneficiary) is not dict or "identity_key" not in beneficiary:
        return None if _is_text(_member(beneficiary, "name")) else "no beneficiary is named"
    identity = _key(_member(beneficiary, "identity_key"))
    if identity is None:
        return "beneficiary.identity_key is not a compressed public key in hex"
    if token.bundle.status is Status.CLAIMED:
        return None
    if not locked_to(token, identity, _member(beneficiary, "key_id"), keys):
        return "the Cancelled output is not locked to its beneficiary's key"
    return None


def _against_lock(token: Token, policy: Policy, keys: Keys) -> str | None:
    leaving = token.exit
    if not (_is_text(_member(leaving, "chain")) and _is_text(_member(leaving, "address"))):
        return "a Locked certificate names the destination's chain and address in exit"
    if "owner" in leaving and _key(leaving["owner"]) is None:
        return "exit.owner is not a compressed public key in hex"
    key_id = leaving.get("key_id")
    if not any(locked_to(token, bridge, key_id, keys) for bridge in policy.bridge_keys):
        return "a Locked certificate must be locked to the key of a known bridge"
    return None


def _against_unlock(before: Token, after: Token) -> str | None:
    if after.bundle.status is Status.WITHDRAWN:
        for name in ("chain", "address"):
            if not same(_member(before.exit, name), _member(after.exit, name)):
                return f"exit.{name} is not what the certificate was locked for"
        return None
    owner = _member(before.exit, "owner")
    if owner is not None and _key(owner) != after.locking_key:
        return "a refund must go to the key in exit.owner"
    return None


def _member(value: Json, name: str) -> Json:
    return value.get(name) if type(value) is dict else None


def _is_text(value: Json) -> bool:
    return type(value) is str and value != ""


def _key(value: Json) -> bytes | None:
    """The 33 bytes that 66 hex digits give; None when they do not look like a compressed public key."""
    if type(value) is not str or len(value) != 66:
        return None
    try:
        key = bytes.fromhex(value)
    except ValueError:
        return None
    return key if key[0] in (2, 3) and len(key) == 33 else None
