"""Making certificates: what an issuing body puts into an output, and what it signs.

token = issue(attributes, Range(1, 52_500), spends=outpoint, output_index=0, issuer_key=…, locking_key=…)
token = token.with_signature(sign(token.signed_text, ISSUANCE_PROTOCOL, key_id=token.issuance_id))
fields = encode_fields(token)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from certificates.bundle import Bundle
from certificates.document import Json
from certificates.lifecycle import Status
from certificates.ranges import Range
from certificates.token import Token, issuance_id_for
from certificates.withdrawal import Withdrawal

_NO_ID: Final = "00000000-0000-0000-0000-000000000000"


def issue(
    attributes: Mapping[str, Json],
    issued: Range,
    *,
    spends: bytes,
    output_index: int,
    issuer_key: bytes,
    locking_key: bytes,
    origin: Json = None,
    extras: Mapping[str, Json] | None = None,
) -> Token:
    """An unsigned, Active token for the whole `issued` range.

    `attributes` are the bundle's without status, range, quantity and issuance id, which are set here;
    `spends` is the outpoint that the issuing transaction's input 0 spends, and `output_index` where the token
    will stand in it. `TokenMalformed` names an attribute that is wrong or missing.
    """
    bundle = Bundle.read({**attributes, **_own(issued, issuance_id_for(spends, output_index))})
    return Token(locking_key, bundle, issued, issuer_key, origin=origin, extras=dict(extras or {}))


def draft(attributes: Mapping[str, Json], quantity: int) -> Bundle:
    """A checked bundle to issue later, of so many certificates, without its id and numbers."""
    return Bundle.read({**attributes, **_own(Range.of(1, quantity), _NO_ID)})


def issue_draft(
    checked: Bundle,
    issued: Range,
    *,
    spends: bytes,
    output_index: int,
    issuer_key: bytes,
    locking_key: bytes,
    origin: Json = None,
    extras: Mapping[str, Json] | None = None,
) -> Token:
    """`issue`, of a `draft`: nothing is checked twice."""
    own = _own(issued, issuance_id_for(spends, output_index))
    bundle = Bundle({**checked.attributes, **own})
    return Token(locking_key, bundle, issued, issuer_key, origin=origin, extras=dict(extras or {}))


def _own(issued: Range, issuance_id: str) -> dict[str, Json]:
    """What an issuance settles itself."""
    return {
        "issuance_id": issuance_id,
        "certificate_status": Status.ACTIVE.value,
        "bundle_id_range_start": issued.start,
        "bundle_id_range_end": issued.end,
        "bundle_quantity": issued.quantity,
    }


def withdraw(
    token: Token, part: Range, reason: str, *, locking_key: bytes, reissued_as: str | None = None
) -> Withdrawal:
    """An unsigned notice that withdraws part of what `token`'s issuer issued."""
    return Withdrawal(locking_key, token.issuance_id, part, reason, token.issuer_key, reissued_as=reissued_as)
