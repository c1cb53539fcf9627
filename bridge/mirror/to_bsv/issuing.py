"""Issuing: the certificates of messages from Solana, one for each lot that was drawn.

Device, interval and energy are the lot's; whatever else the certificate says, the device's registration says, and
`origin` names the message. Nothing is invented: without its lots or its device a message is held.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

from bridge.mirror.book import Page
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import UNITS_PER_WH, Message
from bridge.mirror.origin import origin_of
from bridge.mirror.records import LOTS
from bridge.mirror.states import Hold, State
from bridge.mirror.to_bsv.posting import Leg, Planned, Posted, Purpose, Refusals, Refused, reason_of
from certificates.document import Json
from certificates.token import OWNER_PROTOCOL, Token
from config.errors import BadRequest, NotFound
from energytag.accounts import holder_of
from energytag.actions import Action, Kind, made_id
from energytag.creating import device_attributes, metered_request
from energytag.draft import is_there
from energytag.issuing import IssueRequest, plan_issuance
from energytag.models.common import moment_of_ms
from energytag.plan import Holder, Issue, Made, Scene
from energytag.records import DEVICES
from overlay.keys import derive_for_anyone
from store.port import Document

_DAY_MS: Final = 86_400_000
_FACE_VALUE_WH: Final = 1
_KEY_ID_BYTES: Final = 16
_ACTION_ID: Final = "mirror"
_FAULTS: Final = (BadRequest, NotFound, Refused)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom certificates go to: an account's holder; or a stranger, whose `holder` is made up of its key."""

    holder: Holder
    is_stranger: bool = False


@dataclass(frozen=True, slots=True)
class IssueLeg(Leg):
    """One certificate for each request."""

    requests: Sequence[IssueRequest]
    recipient: Recipient


def account_of_key(identity: bytes) -> str:
    """The account that a stranger's certificates name, by which its wallet finds them: a UUID (version 8) of the
    identity key's hash."""
    return made_id(sha256(identity).digest()[:16], version=8)


class Issuing:
    """The errand of issuing."""

    purpose = Purpose.ISSUE
    fault = Hold.ISSUANCE_FORBIDDEN

    def __init__(self, ground: MirrorGround) -> None:
        self._ground = ground
        self._store = ground.store
        self._registry = ground.registry.ground

    async def legs(self, messages: Sequence[Message]) -> tuple[list[IssueLeg], Refusals]:
        numbers = dict.fromkeys(number for message in messages for number, _ in message.facts.get("lots", ()))
        lots = await self._store.get_many(LOTS, list(numbers))
        devices = await self._store.get_many(DEVICES, list({lot["device_id"] for lot in lots.values()}))
        recipients: dict[str, Recipient] = {}
        legs: list[IssueLeg] = []
        refused: Refusals = []
        for message in messages:
            try:
                recipient = await self._recipient(message, recipients)
                drawn = list(_drawn(message, lots))
                legs.append(self._leg(message, recipient, drawn, devices))
            except _FAULTS as error:
                refused.append((message, reason_of(error, self.fault)))
        return legs, refused

    async def _recipient(self, message: Message, known: dict[str, Recipient]) -> Recipient:
        account_id = message.facts.get("account_id")
        if account_id is None:
            identity = bytes.fromhex(message.facts["identity"])
            return Recipient(Holder(account_of_key(identity), identity, is_custodial=False), is_stranger=True)
        if account_id not in known:
            try:
                known[account_id] = Recipient(
                    await holder_of(self._store, self._registry.keyring, account_id),
                )
            except NotFound as error:
                raise Refused(Hold.RECIPIENT_UNKNOWN, error.message) from None
        return known[account_id]

    def _leg(
        self,
        message: Message,
        recipient: Recipient,
        drawn: Sequence[tuple[Document, int]],
        devices: Mapping[Any, Document],
    ) -> IssueLeg:
        requests = [
            self._request(message, recipient, lot, wh, devices.get(lot["device_id"]), row)
            for row, (lot, wh) in enumerate(drawn, 1)
        ]
        origins = {(_text(each, "energy_source"), _text(each, "country_of_issuance")) for each in requests}
        topics = (self._ground.registry.sender.topics_for(*origin) for origin in origins)
        return IssueLeg(message, len(requests), frozenset().union(*topics), requests, recipient)

    def _request(
        self, message: Message, recipient: Recipient, lot: Document, wh: int, device: Document | None, row: int
    ) -> IssueRequest:
        request = request_of(self._ground, recipient.holder, lot, wh, device, row)
        note = {"note": _note(message, row)} if recipient.is_stranger else {}
        return replace(request, extras=note, is_bridged=True)

    async def plan(self, legs: Sequence[IssueLeg]) -> Planned:
        now_ms = self._ground.now_ms()
        action = Action(_ACTION_ID, 0, Kind.CREATE_MANY, {}, now_ms)
        requests = [request for leg in legs for request in leg.requests]
        issuance = await plan_issuance(requests, action, Scene(self._store, now_ms), self._registry.policy)
        pieces = iter(issuance.pieces)
        return Planned([self._piece(leg, next(pieces)) for leg in legs for _ in leg.requests], issuance.decision)

    def _piece(self, leg: IssueLeg, piece: Issue) -> Issue:
        origin = origin_of(leg.message, self._ground.asset.genesis)
        if not leg.recipient.is_stranger:
            return replace(piece, origin=origin)
        key_id = _noted_key_id(piece.extras)
        return replace(
            piece, origin=origin, owner_key=derive_for_anyone(piece.holder.identity, OWNER_PROTOCOL, key_id)
        )

    async def enter(self, posted: Sequence[Posted], page: Page) -> None:
        for each in posted:
            page.move(
                each.message,
                State.DST_SIGNED,
                due_ms=None,
                facts={"issuances": issuances(each.made), **each.message.attempted()},
                destination_tx=each.txid,
                attempt=each.message.attempt + 1,
            )


def request_of(
    ground: MirrorGround, holder: Holder, lot: Document, wh: int, device: Document | None, row: int = 1
) -> IssueRequest:
    """The certificate of so many Wh of a lot, as its device is registered. Raises `Refused`, `BadRequest`."""
    if device is None or not is_there(device):
        raise Refused(Hold.ISSUANCE_FORBIDDEN, f"device {lot['device_id']} is not registered")
    if device.get("is_storage"):
        raise Refused(Hold.ISSUANCE_FORBIDDEN, f"device {lot['device_id']} is storage, which produces nothing")
    settings = ground.settings.registry
    constant = device_attributes(device, settings.issuing_body) | {
        "account_id": holder.account_id,
        "face_value": _FACE_VALUE_WH,
        "issuance_datestamp": moment_of_ms(ground.now_ms())[:10],
    }
    return metered_request(constant, holder, _reading(lot, wh), row, settings.lifetime_days * _DAY_MS)


def issuances(made: Iterable[Made]) -> list[list[Any]]:
    """What `facts["issuances"]` has: issuance id, output index and Wh of each certificate."""
    return [_issued(each.token, int.from_bytes(each.outpoint[32:], "little")) for each in made if each.token]


def _issued(token: Token, index: int) -> list[Any]:
    return [token.issuance_id, index, token.bundle.energy_wh]


def _drawn(message: Message, lots: Mapping[Any, Document]) -> Iterable[tuple[Document, int]]:
    """The lots of a message with what is of each, in Wh. They must make up the message, to the unit (I6)."""
    drawn = message.facts.get("lots", ())
    if not drawn or sum(units for _, units in drawn) != message.units:
        raise Refused(Hold.PROVENANCE_LACKING, "the lots that were drawn do not make up the message")
    for number, units in drawn:
        if number not in lots or units <= 0 or units % UNITS_PER_WH:
            raise Refused(Hold.PROVENANCE_LACKING, f"lot {number} is unknown, or {units} units are no whole Wh")
        yield lots[number], units // UNITS_PER_WH


def _reading(lot: Document, wh: int) -> dict[str, Any]:
    start_ms = lot["interval_start_ms"]
    end_ms = start_ms + lot["interval_secs"] * 1000
    return {"start": moment_of_ms(start_ms), "end": moment_of_ms(end_ms), "energy_wh": wh}


def _note(message: Message, row: int) -> dict[str, Json]:
    """How a stranger's wallet unlocks its certificate: BRC-42 with this key ID, counterparty `anyone`. Another key
    for each certificate, and for each attempt at it."""
    place = message.id + message.attempt.to_bytes(4, "big") + row.to_bytes(4, "big")
    key_id = b64encode(sha256(place).digest()[:_KEY_ID_BYTES]).decode()
    return {"key_id": key_id, "counterparty": "anyone"}


def _noted_key_id(extras: Mapping[str, Json]) -> str:
    note = extras["note"]
    assert isinstance(note, dict)
    return str(note["key_id"])


def _text(request: IssueRequest, name: str) -> str:
    return str(request.attributes[name])
