"""Import: certificates of another registry, given up there and issued here.

A whole import is checked before anything of it is done, first by itself (`prepare`: every row, and the proof),
then against what is here (the plan). An imported bundle keeps its attributes and its numbers; this registry is its
issuer, and its new issuance id is this chain's.

What it is stays with it: the attribute `import`, which is under the issuer's signature, names the source registry,
the issuance there, and whether it was proven to have been given up there. The note says the same to holders.

The numbers of each source issuance that were imported are kept, so that none is imported twice, under whatever
name of the source registry. What was imported here is kept alike, so that it does not come in again by the
back door.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from certificates.bundle import MUTABLE, OPTIONAL, REQUIRED, Bundle
from certificates.document import MAX_INTEGER, Json
from certificates.errors import TokenMalformed
from certificates.issuance import draft
from certificates.lifecycle import Status
from certificates.ranges import Range, merge
from certificates.rules import against_capacity, against_quantity
from certificates.token import Token
from config.errors import BadRequest, ErrorCode
from energytag.accounts import holder_of
from energytag.actions import Action, Kind
from energytag.bundle_table import RowInvalid
from energytag.ground import RegistryGround
from energytag.models.imports import CertificateImport
from energytag.plan import Handler, Holder, Issue, Made, Plan, Recorder, Scene
from energytag.records import DEVICES
from energytag.source_proofs import find_proven, tokens_in
from lookup.records import CERTIFICATES
from overlay.envelope import EnvelopeLimits
from store.port import Collection, Document, Find, Insert, Patch, Reader, Write

IMPORTED: Final = Collection("energytag_imported", key="text", clustered=True)
"""Key: an issuance id, of a source registry or of an import made here. `ranges` of its numbers, as pairs, cannot
be imported (any more); `rev` counts the changes. An import made here has its `source` with it."""
COLLECTIONS: Final = (IMPORTED,)
ATTRIBUTE: Final = "import"
MOST_RANGES: Final = 10_000
"""Separate runs of numbers of one source issuance that are kept."""

_KNOWN: Final = REQUIRED | OPTIONAL
_GIVEN_UP: Final = (Status.ACTIVE, Status.RESERVED, Status.CANCELLED)
"""What a bundle may be in the source registry; Active is one that nothing is proven of."""
_TAKEN: Final = "imported"
_ROWS_A_TURN: Final = 64
_FINDS_AT_ONCE: Final = 256
_EVERYTHING: Final = [[0, MAX_INTEGER]]


class AlreadyImported(RowInvalid):
    """These certificates were imported before."""


# By itself


async def prepare(ground: RegistryGround, body: CertificateImport) -> dict[str, Any]:
    """The request of an import's action, with all of it checked that does not depend on what is here.

    `RowInvalid` (IMPORT_INVALID) names the first row that cannot be taken, `ProofInvalid` what the proof does not
    show; `Unavailable` when the chain cannot be asked.
    """
    most = ground.settings.registry.bundles_per_action
    if len(body.bundles) > most:
        raise BadRequest(f"an import may have {most} bundles; cut it into several", ErrorCode.IMPORT_INVALID)
    bundles = await check_rows(ground, body.bundles)
    if body.proof is not None:
        await _check_proof(ground, bundles, b64decode(body.proof.beef))
    return {
        "source_registry": body.source_registry,
        "account_id": body.account_id,
        "proven": body.proof is not None,
        "bundles": [dict(bundle.attributes) for bundle in bundles],
    }


async def check_rows(ground: RegistryGround, rows: Sequence[Mapping[str, Json]]) -> list[Bundle]:
    """The bundles of an import, attributes of EnergyTag only."""
    now = datetime.fromtimestamp(ground.now_ms() / 1000, UTC)
    bundles = []
    for row, attributes in enumerate(rows, 1):
        bundles.append(_checked(ground, row, attributes, now))
        if row % _ROWS_A_TURN == 0:
            await asyncio.sleep(0)
    _check_repeats(bundles)
    return bundles


def _check_repeats(bundles: Sequence[Bundle]) -> None:
    """No certificate may come twice in one import."""
    places = sorted((bundle.issuance_id, bundle.range, row) for row, bundle in enumerate(bundles, 1))
    for (issuance_id, part, _), (other_id, other, row) in pairwise(places):
        if issuance_id == other_id and part.overlaps(other):
            raise RowInvalid(row, f"certificates {other} of issuance {issuance_id} come twice")


def _checked(ground: RegistryGround, row: int, attributes: Mapping[str, Json], now: datetime) -> Bundle:
    known = {name: value for name, value in attributes.items() if name in _KNOWN and value is not None}
    try:
        bundle = Bundle.read(known)
    except TokenMalformed as error:
        raise RowInvalid(row, error.message) from None
    reason = against_quantity(bundle) or against_capacity(bundle, ground.policy)
    if reason is None and bundle.period[1] > now:
        reason = f"the production interval ends in the future, at {bundle.period[1].isoformat()}"
    if reason is None and bundle.expiry <= now.date():
        reason = f"it expired on {bundle.expiry}"
    if reason is None and bundle.status not in _GIVEN_UP:
        reason = f"it is {bundle.status} in the source registry"
    if reason is not None:
        raise RowInvalid(row, reason)
    return bundle


async def _check_proof(ground: RegistryGround, bundles: Sequence[Bundle], beef: bytes) -> None:
    """Each bundle must have been given up for this registry, and be what its token says."""
    limits = ground.settings.limits
    bounds = EnvelopeLimits(
        limits.beef_transactions, limits.beef_bumps, limits.beef_outputs, limits.beef_bump_bytes
    )
    tokens = await tokens_in(beef, ground.headers, ground.policy, bounds)
    wanted = [(bundle.issuance_id, bundle.range) for bundle in bundles]
    found = find_proven(tokens, names_of(ground), wanted)
    for row, (bundle, token) in enumerate(zip(bundles, found, strict=True), 1):
        _check_same(row, bundle, token)


def _check_same(row: int, bundle: Bundle, token: Token) -> None:
    proven = token.bundle.immutable()
    for name, value in bundle.immutable().items():
        if proven.get(name) != value:
            raise RowInvalid(row, f"{name} is {value!r}, and {proven.get(name)!r} in the proof")


def names_of(ground: RegistryGround) -> frozenset[str]:
    """What this registry goes by in another one: its identity key, its public URL, its issuing body's name."""
    settings = ground.settings
    names = {ground.keyring.identity.hex(), settings.node.hosting_url, settings.registry.issuing_body}
    return frozenset(name for name in names if name)


# Against what is here


@dataclass(frozen=True, slots=True)
class Importing:
    """Issues what an import brings."""

    ground: RegistryGround
    reads_holdings: bool = False

    async def plan(self, action: Action, scene: Scene) -> Plan:
        request = action.request
        holder = await holder_of(scene.reader, self.ground.keyring, request["account_id"])
        bundles = [Bundle(attributes) for attributes in request["bundles"]]
        decision: list[Write] = []
        if action.memo is None:
            await _check_devices(scene.reader, bundles)
            decision = await _guard(scene, bundles)
            await _check_foreign(scene.reader, bundles, self.ground.keyring.identity)
        return Plan(
            [_issue(bundle, holder, action) for bundle in bundles],
            decision=decision,
            memo={"guarded": True},
            result=_result(request, bundles),
            touches=frozenset({holder.account_id}),
        )


def handlers(ground: RegistryGround) -> dict[Kind, Handler]:
    return {Kind.IMPORT: Importing(ground)}


def _result(request: Mapping[str, Any], bundles: Sequence[Bundle]) -> dict[str, Any]:
    return {
        "source_registry": request["source_registry"],
        "proven": request["proven"],
        "bundles": len(bundles),
        "energy_wh": sum(bundle.energy_wh for bundle in bundles),
    }


async def _check_devices(reader: Reader, bundles: Sequence[Bundle]) -> None:
    """Nobody but this registry issues for the devices that are registered with it."""
    ids = list(dict.fromkeys(str(bundle.attributes["device_id"]) for bundle in bundles))
    own = await reader.get_many(DEVICES, list(ids))
    for row, bundle in enumerate(bundles, 1):
        if bundle.attributes["device_id"] in own:
            raise RowInvalid(
                row, f"device {bundle.attributes['device_id']} is registered here; nothing is imported"
            )


async def _check_foreign(reader: Reader, bundles: Sequence[Bundle], identity: bytes) -> None:
    """What this registry issued is no other registry's, whatever a row says of its device."""
    rows: dict[str, int] = {}
    for row, bundle in enumerate(bundles, 1):
        rows.setdefault(bundle.issuance_id, row)
    asked = list(rows.items())
    for start in range(0, len(asked), _FINDS_AT_ONCE):
        some = asked[start : start + _FINDS_AT_ONCE]
        finds = (Find("issuance", {"issuance_id": issuance_id}, limit=1) for issuance_id, _ in some)
        pages = await asyncio.gather(*(reader.find(CERTIFICATES, find) for find in finds))
        for (issuance_id, row), page in zip(some, pages, strict=True):
            if any(record["issuer"] == identity for record in page.documents):
                raise RowInvalid(row, f"issuance {issuance_id} is of this registry")


async def _guard(scene: Scene, bundles: Sequence[Bundle]) -> list[Write]:
    """Writes that claim the numbers; `AlreadyImported` when some are claimed, by this batch or before."""
    issuances = list(dict.fromkeys(bundle.issuance_id for bundle in bundles))
    claimed: dict[str, Document] = scene.taken.setdefault(_TAKEN, {})
    stored = await scene.reader.get_many(IMPORTED, [each for each in issuances if each not in claimed])
    before = {each: claimed.get(each) or stored.get(each) for each in issuances}
    ranges = {each: [] if row is None else [Range(*pair) for pair in row["ranges"]] for each, row in before.items()}
    for row, bundle in enumerate(bundles, 1):
        if _overlaps(bundle.range, ranges[bundle.issuance_id]):
            reason = f"certificates of issuance {bundle.issuance_id} in {bundle.range} are here already"
            raise AlreadyImported(row, reason)
    after = _claims(before, ranges, bundles)
    writes = [_claim(before[each], document) for each, document in after.items()]
    claimed |= after
    return writes


def _overlaps(part: Range, joined: Sequence[Range]) -> bool:
    """Whether a range has a number in common with others, which are ascending and apart."""
    place = bisect_right(joined, part.end, key=lambda each: each.start)
    return place > 0 and joined[place - 1].end >= part.start


def _claims(
    before: Mapping[str, Document | None], ranges: Mapping[str, list[Range]], bundles: Iterable[Bundle]
) -> dict[str, Document]:
    numbers = {issuance_id: list(taken) for issuance_id, taken in ranges.items()}
    for bundle in bundles:
        numbers[bundle.issuance_id].append(bundle.range)
    rows: dict[str, Document] = {}
    for issuance_id, taken in numbers.items():
        joined = merge(taken)
        if len(joined) > MOST_RANGES:
            message = f"issuance {issuance_id} was imported in more than {MOST_RANGES} parts"
            raise BadRequest(message, ErrorCode.IMPORT_INVALID)
        earlier = before[issuance_id]
        rev = 0 if earlier is None else earlier["rev"] + 1
        rows[issuance_id] = {"_id": issuance_id, "ranges": [list(each) for each in joined], "rev": rev}
    return rows


def _claim(before: Document | None, document: Document) -> Write:
    if before is None:
        return Insert(IMPORTED, document)
    changes = {"ranges": document["ranges"], "rev": document["rev"]}
    return Patch(IMPORTED, document["_id"], changes, expect={"rev": before["rev"]})


def _issue(bundle: Bundle, holder: Holder, action: Action) -> Issue:
    """The bundle as this registry issues it."""
    kept = {
        name: value for name, value in bundle.attributes.items() if name not in MUTABLE and name != "issuance_id"
    }
    origin = {
        "source_registry": action.request["source_registry"],
        "issuance_id": bundle.issuance_id,
        "proven": action.request["proven"],
    }
    attributes = {**kept, "account_id": holder.account_id, ATTRIBUTE: origin}
    return Issue(
        draft(attributes, bundle.quantity), bundle.range, holder, _recorder(action), {"note": {"import": origin}}
    )


def _recorder(action: Action) -> Recorder:
    """Keeps whence the new issuance came, which also bars its way in again."""

    def record(made: Made) -> list[Write]:
        assert made.token is not None
        return [Insert(IMPORTED, imported_here(made.token, action.action_id))]

    return record


def imported_here(token: Token, action_id: str) -> Document:
    """The row of an issuance that was made for an import."""
    source = token.bundle.attributes[ATTRIBUTE]
    return {"_id": token.issuance_id, "ranges": _EVERYTHING, "rev": 0, "source": source, "action_id": action_id}
