"""Bundles as JSON: as they are on chain and as they stand, with the proof of when they came there."""

from __future__ import annotations

from asyncio import gather
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from certificates.ranges import Range
from config.errors import BadRequest, ErrorCode
from energytag.ground import RegistryGround
from energytag.plan import Made
from energytag.proofs import UNPROVEN, TimestampProof, proofs_of
from lookup.search import Shown
from overlay import pushdrop
from overlay.hydrate import hydrate
from overlay.lookup_service import Formula, Found
from overlay.outputs import load_outputs
from overlay.transaction import outpoint as outpoint_of
from overlay.transaction import show_outpoint, split_outpoint
from store.port import Document

_EXTRAS: Final = ("beneficiary", "exit", "note", "origin", "private")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A bundle of an answer, and which of its certificates are meant."""

    shown: Shown
    part: Range


def range_of(record: Document) -> Range:
    """The numbers of a record's certificates."""
    return Range(record["range_start"], record["range_end"])


async def told_bundles(
    ground: RegistryGround, chosen: Sequence[Chosen], *, with_beef: bool = False
) -> list[dict[str, Any]]:
    """Bundles as JSON; one that is evicted meanwhile is left out."""
    outpoints = [each.shown.record["_id"] for each in chosen]
    outputs, proofs = await gather(
        load_outputs(ground.store, outpoints), proofs_of(ground, (outpoint[:32] for outpoint in outpoints))
    )
    beefs = await _beefs(ground, outpoints) if with_beef else {}
    return [
        told_bundle(
            each.shown,
            outputs[outpoint].script,
            proofs.get(outpoint[:32], UNPROVEN),
            each.part,
            beefs.get(outpoint),
        )
        for each, outpoint in zip(chosen, outpoints, strict=True)
        if outpoint in outputs
    ]


async def _beefs(ground: RegistryGround, outpoints: Sequence[bytes]) -> dict[bytes, bytes]:
    """The BEEF of each of these; `BadRequest(RESPONSE_TOO_LARGE)` when they are too many bytes together."""
    limits = ground.settings.limits
    formula = Formula([Found(*split_outpoint(outpoint)) for outpoint in outpoints])
    answer = await hydrate(ground.store, formula, 0, limits.response_bytes)
    left, beefs = limits.response_bytes, {}
    for output in answer.outputs:
        beef = answer.beef(output)
        left -= len(beef)
        if left < 0:
            message = f"the answer exceeds {limits.response_bytes} bytes; ask for less"
            raise BadRequest(message, ErrorCode.RESPONSE_TOO_LARGE)
        beefs[outpoint_of(output.txid, output.output_index)] = beef
    return beefs


def told_bundle(
    shown: Shown, script: bytes, proof: TimestampProof, part: Range | None = None, beef: bytes | None = None
) -> dict[str, Any]:
    """A bundle as JSON: its token's, with the status as shown, and what the index and the chain add."""
    record = shown.record
    told = _told_token(script, record["_id"], proof)
    told["certificate_status"] = shown.status
    if shown.notices:
        told["withdrawn"] = [notice.told() for notice in shown.notices]
    if shown.doubles:
        told["doubles"] = list(shown.doubles)
    if record["spent_by"] is not None:
        told["spent_by"] = record["spent_by"][::-1].hex()
    if part is not None and part != range_of(record):
        told["selected"] = {"start": part.start, "end": part.end, "quantity": part.quantity}
    if beef is not None:
        told["beef"] = b64encode(beef).decode()
    return told


def told_made(made: Made) -> dict[str, Any]:
    """A bundle that was made just now, as JSON."""
    return _told_token(made.script, made.outpoint, UNPROVEN)


def _told_token(script: bytes, outpoint: bytes, proof: TimestampProof) -> dict[str, Any]:
    """The `energyTag` as on chain, but for members that are null, and what else the token says."""
    document = _document(script)
    told = {name: value for name, value in document["energyTag"].items() if value is not None}
    told["tx_id"] = outpoint[31::-1].hex()
    told["outpoint"] = show_outpoint(outpoint)
    told["issued"] = document["issued"]
    told["timestamp_proof"] = proof.told()
    return told | {name: document[name] for name in _EXTRAS if document.get(name) is not None}


def _document(script: bytes) -> dict[str, Any]:
    """The JSON of an admitted certificate's first field, which its topic has checked."""
    found = pushdrop.decode(script)
    if found is None:
        raise ValueError("the script of an admitted certificate is no PushDrop")
    document: dict[str, Any] = orjson.loads(found.fields[0])
    return document
