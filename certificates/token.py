"""The certificate token: PushDrop fields to values and back.

Three layouts have a first field of JSON: a certificate (`v` 1, `energyTag`, issuer key, issuer signature), a
withdrawal notice (`v` 1, `withdraw`, issuer key, issuer signature), and the first METAWATT tokens (two fields,
no `v`). A fourth field, the PushDrop template's own signature, is allowed and not interpreted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Final, TypeAlias

from certificates.bundle import Bundle
from certificates.canonical import canonical
from certificates.document import Json, parse_object
from certificates.errors import TokenMalformed
from certificates.legacy import LegacyToken, read_legacy
from certificates.ranges import Range
from certificates.withdrawal import VERSION, Withdrawal, read_range, read_withdrawal

OWNER_PROTOCOL: Final = (1, "metawatt gc")
ISSUANCE_PROTOCOL: Final = (1, "metawatt gc issuance")
TOKEN_SATOSHIS: Final = 1
MAX_SIGNATURE_BYTES: Final = 73
_ANSWER: Final = "_last_answer"
_ID_TAG: Final = b"metawatt gc"
_SIGNED_PARTS: Final = frozenset({"v", "energyTag", "issued", "origin"})


@dataclass(frozen=True)
class Token:
    """A certificate token as a value.

    `issued` is the range of the whole issuance, `bundle.range` of this part. `origin` is the bridge message
    that it mirrors, under the issuer's signature. `extras` are the other top-level members (`beneficiary`,
    `exit`, `note`, `private`), which each owner may set. Keys are 33 bytes, `signature` is DER.
    """

    locking_key: bytes
    bundle: Bundle
    issued: Range
    issuer_key: bytes
    signature: bytes = b""
    origin: Json = None
    extras: Mapping[str, Json] = field(default_factory=dict)

    @property
    def issuance_id(self) -> str:
        return self.bundle.issuance_id

    @property
    def beneficiary(self) -> Json:
        return self.extras.get("beneficiary")

    @property
    def exit(self) -> Json:
        return self.extras.get("exit")

    @property
    def note(self) -> Json:
        return self.extras.get("note")

    @property
    def private(self) -> Json:
        return self.extras.get("private")

    @cached_property
    def signed_text(self) -> bytes:
        """What the issuer signs: canonical JSON of the immutable attributes, the issued range, the origin."""
        issued = {"start": self.issued.start, "end": self.issued.end}
        return canonical({"energyTag": self.bundle.immutable(), "issued": issued, "origin": self.origin})

    def with_signature(self, signature: bytes) -> Token:
        return replace(self, signature=signature)

    @property
    def last_answer(self) -> object:
        """What `remember` was given last; None when nothing was."""
        return self.__dict__.get(_ANSWER)

    def remember(self, answer: object) -> None:
        """Keep an answer about this token with it: no part of its value, nor of comparisons."""
        self.__dict__[_ANSWER] = answer


Content: TypeAlias = Token | LegacyToken | Withdrawal


def signed_text(token: Token | Withdrawal) -> bytes:
    """The text under the issuer's signature, for `ISSUANCE_PROTOCOL` and key ID `issuance_id`."""
    return token.signed_text


def issuance_id_for(outpoint: bytes, output_index: int) -> str:
    """The id that an issuance at `output_index` must have, in a transaction whose input 0 spends `outpoint`
    (36 bytes as on the wire). An outpoint is spent once, so no second transaction can issue the same id."""
    digest = bytearray(sha256(_ID_TAG + outpoint + output_index.to_bytes(4, "little")).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80  # version 8
    digest[8] = digest[8] & 0x3F | 0x80  # the variant of RFC 9562
    digits = digest.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def decode_fields(locking_key: bytes, fields: Sequence[bytes]) -> Content:
    """The token that a PushDrop's key and fields hold; `TokenMalformed` says why there is none."""
    if not 2 <= len(fields) <= 4:
        raise TokenMalformed(f"a certificate token has 2 to 4 fields, not {len(fields)}")
    if len(locking_key) != 33 or locking_key[0] not in (2, 3):
        raise TokenMalformed("the owner key is not a compressed public key")
    document = parse_object(fields[0])
    if "v" not in document and len(fields) == 2:
        return read_legacy(locking_key, fields[0], document, _signature(fields[1]))
    if type(document.get("v")) is not int or document["v"] != VERSION:
        raise TokenMalformed(f"v is not {VERSION}")
    if len(fields) == 2:
        raise TokenMalformed("the issuer's signature is missing")
    issuer_key, signature = _issuer_key(fields[1]), _signature(fields[2])
    if "withdraw" in document:
        return read_withdrawal(locking_key, document, issuer_key, signature)
    return _read_token(locking_key, document, issuer_key, signature)


def _read_token(locking_key: bytes, document: dict[str, Json], issuer_key: bytes, signature: bytes) -> Token:
    return Token(
        locking_key,
        Bundle.read(document.get("energyTag")),
        _read_issued(document.get("issued")),
        issuer_key,
        signature,
        document.get("origin"),
        {name: value for name, value in document.items() if name not in _SIGNED_PARTS},
    )


def _read_issued(value: Json) -> Range:
    if type(value) is not dict or value.keys() != {"start", "end"}:
        raise TokenMalformed("issued is not an object with start and end")
    return read_range(value, "issued")


def _issuer_key(value: bytes) -> bytes:
    if len(value) != 33 or value[0] not in (2, 3):
        raise TokenMalformed("the issuer key is not a compressed public key")
    return value


def _signature(value: bytes) -> bytes:
    if not 8 <= len(value) <= MAX_SIGNATURE_BYTES or value[0] != 0x30:
        raise TokenMalformed("the signature is not DER")
    return value


def encode_fields(token: Token | Withdrawal) -> list[bytes]:
    """The three fields of a token or a notice; the first is canonical JSON."""
    if isinstance(token, Withdrawal):
        return token.to_fields()
    document: dict[str, Json] = {
        **token.extras,
        "v": VERSION,
        "energyTag": token.bundle.attributes,
        "issued": {"start": token.issued.start, "end": token.issued.end},
    }
    if token.origin is not None:
        document["origin"] = token.origin
    return [canonical(document), token.issuer_key, token.signature]
