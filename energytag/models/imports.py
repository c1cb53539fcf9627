"""Bodies of imports."""

from __future__ import annotations

from base64 import b64decode
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, JsonValue

from energytag.models.certificates import MOST_BUNDLES
from energytag.models.common import Model, Reply, Text, Uuid

MOST_PROOF_CHARACTERS: Final = 48 * 1024 * 1024


def _base64(text: str) -> str:
    b64decode(text, validate=True)
    return text


class SourceProof(Model):
    """That the bundles were given up in the source registry: a BEEF (base64) with all transactions from their
    issuance to their cancellation or reservation in favour of this registry, each with its Merkle path."""

    beef: Annotated[str, AfterValidator(_base64), Field(min_length=1, max_length=MOST_PROOF_CHARACTERS)]


class CertificateImport(Model):
    """Bundles of another registry, as that registry exports them, to be issued here into one account."""

    source_registry: Text
    account_id: Uuid
    source_user_id: Uuid | None = None
    bundles: Annotated[list[dict[str, JsonValue]], Field(min_length=1, max_length=MOST_BUNDLES)]
    proof: SourceProof | None = None


class CertificateImportResponse(Reply):
    """What came of an import. `proven` tells whether the source registry's giving up was proven."""

    action_id: Uuid
    action_state: str
    tx_ids: list[str]
    bundles: int
    energy_wh: int
    proven: bool
    source_registry: str
    error: dict[str, Any] | None = None
