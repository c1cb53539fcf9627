"""The first METAWATT tokens: two fields, `[JSON {"energyTag", "note"}, signature]`, and no issuer.

They are locked to the maker's own key, whose signature over the first field is the second one. They stay
readable, marked as unissued, and never count as issued energy. Of their attributes only the eight are
certain that the first topic manager looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from certificates.document import Json
from certificates.errors import TokenMalformed

_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "certificate_status": (str,),
    "account_id": (str,),
    "bundle_id_range_start": (int,),
    "bundle_id_range_end": (int,),
    "bundle_quantity": (int,),
    "energy_carrier": (str,),
    "energy_source": (str,),
    "face_value": (int,),
}


@dataclass(frozen=True)
class LegacyToken:
    """`signed_text` is the first field as it stands; the signature must verify under `locking_key`."""

    locking_key: bytes
    attributes: Mapping[str, Json]
    note: str | None
    signed_text: bytes
    signature: bytes

    @property
    def issuance_id(self) -> str | None:
        """What the token calls itself; anybody may have written it."""
        value = self.attributes.get("issuance_id")
        return value if type(value) is str else None


def read_legacy(locking_key: bytes, text: bytes, document: dict[str, Json], signature: bytes) -> LegacyToken:
    """The legacy token that a parsed first field holds; `TokenMalformed` otherwise."""
    attributes = document.get("energyTag")
    if type(attributes) is not dict:
        raise TokenMalformed("energyTag is not an object")
    for name, kinds in _KINDS.items():
        if type(attributes.get(name)) not in kinds:
            raise TokenMalformed(f"energyTag.{name} is missing or of the wrong type")
    note = document.get("note")
    return LegacyToken(locking_key, attributes, note if type(note) is str else None, text, signature)
