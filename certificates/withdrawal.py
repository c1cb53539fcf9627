"""Withdrawal notices: an issuer's public statement that part of an issuance no longer stands.

Fields: `{"v":1,"withdraw":{"issuance_id","start","end","reason","reissued_as"?}}`, the issuer's identity key,
the issuer's signature. Signed is the canonical JSON of `{"withdraw": {…}}`, with the protocol and key ID
of the issuance; an issuance's text has other top-level keys, so neither signature can pass for the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from certificates.bundle import is_uuid, is_whole
from certificates.canonical import canonical
from certificates.document import Json
from certificates.errors import TokenMalformed
from certificates.ranges import Range

VERSION: Final = 1
_KEYS: Final = frozenset({"issuance_id", "start", "end", "reason", "reissued_as"})


@dataclass(frozen=True)
class Withdrawal:
    """A notice. `issuer_key` is 33 bytes, `signature` DER; `reissued_as` is the issuance that replaces it."""

    locking_key: bytes
    issuance_id: str
    range: Range
    reason: str
    issuer_key: bytes
    signature: bytes = b""
    reissued_as: str | None = None

    @cached_property
    def signed_text(self) -> bytes:
        """What the issuer signs."""
        return canonical({"withdraw": self._statement()})

    def with_signature(self, signature: bytes) -> Withdrawal:
        return replace(self, signature=signature)

    def to_fields(self) -> list[bytes]:
        document = {"v": VERSION, "withdraw": self._statement()}
        return [canonical(document), self.issuer_key, self.signature]

    def _statement(self) -> dict[str, Json]:
        statement: dict[str, Json] = {
            "issuance_id": self.issuance_id,
            "start": self.range.start,
            "end": self.range.end,
            "reason": self.reason,
        }
        if self.reissued_as is not None:
            statement["reissued_as"] = self.reissued_as
        return statement


def read_withdrawal(
    locking_key: bytes, document: dict[str, Json], issuer_key: bytes, signature: bytes
) -> Withdrawal:
    """The notice that a parsed first field holds; `TokenMalformed` otherwise."""
    if document.keys() != {"v", "withdraw"}:
        raise TokenMalformed("a withdrawal notice holds v and withdraw, and nothing else")
    statement = document["withdraw"]
    if type(statement) is not dict or not statement.keys() <= _KEYS:
        raise TokenMalformed(f"withdraw is not an object with {', '.join(sorted(_KEYS))}")
    if not is_uuid(statement.get("issuance_id")):
        raise TokenMalformed("withdraw.issuance_id is not a UUID in lower case")
    if type(statement.get("reason")) is not str or not statement["reason"]:
        raise TokenMalformed("withdraw.reason is missing")
    reissued_as = statement.get("reissued_as")
    if reissued_as is not None and not is_uuid(reissued_as):
        raise TokenMalformed("withdraw.reissued_as is not a UUID in lower case")
    return Withdrawal(
        locking_key,
        statement["issuance_id"],
        read_range(statement, "withdraw"),
        statement["reason"],
        issuer_key,
        signature,
        reissued_as,
    )


def read_range(value: dict[str, Json], name: str) -> Range:
    """The range that `start` and `end` of an object give; `TokenMalformed` unless they are one."""
    try:
        start, end = value["start"], value["end"]
    except KeyError as error:
        raise TokenMalformed(f"{name}.{error.args[0]} is missing") from error
    if not (is_whole(start) and is_whole(end) and start <= end):
        raise TokenMalformed(f"{name} is not a range of certificate ids")
    return Range(start, end)
