"""The index's collections, and the documents in them.

`metawatt_certificates` has one record per certificate output, keyed by outpoint (36 bytes). Its indexes are
few, because each costs every admission a write; those of a new certificate are:

- `live…` by admission order: all, by country, by source, by both. The questions of a buyer. Their entries go
  to the end of a handful of runs, so that a group of admissions shares the pages that it dirties.
- `live_period`: all by production interval. New certificates are of the last hours, so it grows at a few ends,
  too. A window holds the certificates of one time, of which the other filters are few enough to be met.
- `account`, `device`: by production interval, for holders and for one meter's history. As many runs as there
  are accounts and devices; an account's certificates are apart by status, since what is retired stays for ever.
- `issuance`, `owner`: identities, scattered by nature; one dirty page each. They make provenance, ranges and
  a wallet's own search possible at any size.

What no index leads to is filtered from the records that an index gives: zone, grid, carrier, issuer, smallest
quantity, topics. Those go along with a country, a source or a device.

`other_status…` (a status other than Active) and `lost…` are partial: an Active certificate is in neither, so
they cost admission nothing.

`metawatt_notices` has the issuers' withdrawal notices, keyed by outpoint; `metawatt_withdrawn` one mark per
issuance that was ever the subject of one, so that one read tells for a whole page of records whether there
is anything to look up. A mark may be stale, a missing mark never is.

`is_mirrored` is on the records of certificates with an `origin`, which mirror tokens of another chain.

`metawatt_intervals` has for each device and start of an interval the first and the last issuance: where they
differ, the interval was issued twice. It is written without a read, so that two issuances of one group commit
find each other, in whatever order. All parts of an interval that one issuer mirrors have one name there, and a
field of that name. `metawatt_devices` tells which devices bear a name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any, Final

from certificates.bundle import source_word
from certificates.legacy import LegacyToken
from certificates.lifecycle import Status
from certificates.token import Token
from certificates.withdrawal import Withdrawal
from overlay.lookup_service import OutputAdmitted
from store.port import Collection, Document, Index

HOUR_SECS: Final = 3600
MAX_INTEGER: Final = 2**63 - 1
MAX_LEGACY_TEXT: Final = 256
"""Longer texts of the first tokens, which no issuer answers for, are not indexed."""

CERTIFICATES: Final = Collection(
    "metawatt_certificates",
    key="bytes",
    fields={
        "seq": "int",
        "live": "int",
        "lost": "int",
        "status": "text",
        "other_status": "text",
        "energy_source": "text",
        "energy_carrier": "text",
        "country": "text",
        "zone": "text",
        "grid": "text",
        "device_id": "text",
        "device_name": "text",
        "account_id": "text",
        "issuance_id": "text",
        "issuer": "bytes",
        "owner_key": "bytes",
        "period_start": "int",
        "period_end": "int",
        "hour": "int",
        "expires": "int",
        "range_start": "int",
        "range_end": "int",
        "issued_start": "int",
        "issued_end": "int",
        "quantity": "int",
        "quantity_wh": "int",
        "face_value": "int",
        "unissued": "int",
        "topics": "text",
        "spent_by": "bytes",
        "succeeded_by": "bytes",
    },
    indexes=(
        Index("live", ("live", "seq"), partial=True),
        Index("live_country", ("live", "country", "seq"), partial=True),
        Index("live_source", ("live", "energy_source", "seq"), partial=True),
        Index("live_country_source", ("live", "country", "energy_source", "seq"), partial=True),
        Index("live_period", ("live", "period_start"), partial=True),
        Index("account", ("live", "account_id", "other_status", "period_start"), partial=True),
        Index("device", ("device_id", "period_start"), partial=True),
        Index("issuance", ("issuance_id", "seq"), partial=True),
        Index("owner", ("owner_key", "seq"), partial=True),
        Index("other_status", ("other_status", "seq"), partial=True),
        Index("other_status_period", ("other_status", "period_start"), partial=True),
        Index("lost", ("lost", "seq"), partial=True),
        Index("lost_period", ("lost", "period_start"), partial=True),
    ),
    family="txid",
)
NOTICES: Final = Collection(
    "metawatt_notices",
    key="bytes",
    fields={"issuance_id": "text", "issuer": "bytes"},
    indexes=(Index("issuance", ("issuance_id", "issuer")),),
)
WITHDRAWN: Final = Collection("metawatt_withdrawn", key="text", clustered=True)
INTERVALS: Final = Collection(
    "metawatt_intervals", key="bytes", fields={"first": "text", "last": "text"}, clustered=True
)
DEVICES: Final = Collection("metawatt_devices", key="bytes", fields={"device_id": "text"}, clustered=True)
COLLECTIONS: Final = (CERTIFICATES, NOTICES, WITHDRAWN, INTERVALS, DEVICES)

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_SECS = 86_400
_DEVICE_DIGEST_BYTES = 16


OTHER_STATUSES: Final = tuple(status.value for status in Status if status not in (Status.ACTIVE, Status.EXPIRED))
UNKNOWN_STATUS: Final = "other"
"""`other_status` of a first token whose own word for its status is none of EnergyTag's."""


def topics_text(topics: Sequence[str]) -> str:
    """Topic names as a record holds them; no name has a space in it (BRC-87)."""
    return " ".join(sorted(topics))


def _whereabouts(event: OutputAdmitted, owner_key: bytes, status: str) -> Document:
    """What every record has, whichever layout its token is of."""
    return {
        "_id": event.ref.outpoint,
        "seq": event.ref.seq,
        "live": 1,
        "status": status,
        "other_status": _other_status(status),
        "owner_key": owner_key,
        "topics": topics_text(event.topics),
    }


def _other_status(status: str) -> str | None:
    if status == Status.ACTIVE:
        return None
    return status if status in OTHER_STATUSES else UNKNOWN_STATUS


def certificate_record(event: OutputAdmitted, token: Token) -> Document | None:
    """The record of a certificate output; None when its energy is beyond what a record holds."""
    bundle = token.bundle
    if bundle.energy_wh > MAX_INTEGER:
        return None
    tag = bundle.attributes
    start_ms, end_ms = bundle.period_ms
    start = start_ms // 1000
    record = _whereabouts(event, token.locking_key, tag["certificate_status"])
    record.update(
        energy_source=source_name(tag["energy_source"]),
        energy_carrier=tag["energy_carrier"],
        country=tag["country_of_issuance"],
        zone=tag["issue_market_zone"],
        grid=tag["connected_grid_identification"],
        device_id=tag["device_id"],
        device_name=tag["device_name"],
        account_id=tag["account_id"],
        issuance_id=tag["issuance_id"],
        issuer=token.issuer_key,
        period_start=start,
        period_end=-(-end_ms // 1000),
        hour=start - start % HOUR_SECS,
        expires=midnight_secs(tag["expiry_datestamp"]),
        range_start=tag["bundle_id_range_start"],
        range_end=tag["bundle_id_range_end"],
        issued_start=token.issued.start,
        issued_end=token.issued.end,
        quantity=tag["bundle_quantity"],
        quantity_wh=bundle.energy_wh,
        face_value=tag["face_value"],
    )
    if token.origin is not None:
        record["is_mirrored"] = True
    return record


def legacy_record(event: OutputAdmitted, token: LegacyToken) -> Document:
    """The record of a first, two-field token: its own words, marked as unissued, without energy."""
    tag = token.attributes
    start, end = (_moment_secs(tag.get(f"production_{which}_interval")) for which in ("starting", "ending"))
    record = _whereabouts(event, token.locking_key, _text(tag, "certificate_status") or "")
    record.update(
        energy_source=source_name(_text(tag, "energy_source") or ""),
        energy_carrier=_text(tag, "energy_carrier"),
        country=_upper(_text(tag, "country_of_issuance")),
        zone=_text(tag, "issue_market_zone"),
        grid=_text(tag, "connected_grid_identification"),
        device_id=_lower(_text(tag, "device_id")),
        device_name=_text(tag, "device_name"),
        account_id=_lower(_text(tag, "account_id")),
        issuance_id=_text(tag, "issuance_id"),
        period_start=start,
        period_end=max(start, end),
        hour=start - start % HOUR_SECS,
        range_start=tag["bundle_id_range_start"],
        range_end=tag["bundle_id_range_end"],
        quantity=tag["bundle_quantity"],
        quantity_wh=0,
        face_value=tag["face_value"],
        unissued=1,
    )
    return record


def notice_record(event: OutputAdmitted, notice: Withdrawal) -> Document:
    """The record of an issuer's withdrawal notice."""
    return {
        "_id": event.ref.outpoint,
        "issuance_id": notice.issuance_id,
        "issuer": notice.issuer_key,
        "start": notice.range.start,
        "end": notice.range.end,
        "reason": notice.reason,
        "reissued_as": notice.reissued_as,
    }


def source_name(energy_source: str) -> str:
    """An energy source as the index spells it, which is how topic names do; as it is when that is empty."""
    return source_word(energy_source) or energy_source[:MAX_LEGACY_TEXT]


def midnight_secs(day: str) -> int:
    """Epoch seconds at which a UTC day, `YYYY-MM-DD`, begins."""
    return (date.fromisoformat(day).toordinal() - _EPOCH_DAY) * _DAY_SECS


def interval_key(device_id: str, period_start: int) -> bytes:
    """The key in `INTERVALS`. Time comes first in it, so that what is written at one time lies together."""
    digest = sha256(device_id.encode()).digest()[:_DEVICE_DIGEST_BYTES]
    return (period_start + 2**62).to_bytes(8, "big") + digest


def device_prefix(device_name: str) -> bytes:
    """The beginning of the keys in `DEVICES` of all devices of that name."""
    return sha256(device_name.encode()).digest()[:_DEVICE_DIGEST_BYTES]


def device_record(record: Document) -> Document:
    """The entry in `DEVICES` of a certificate record's device; its name and its id may be missing."""
    device_id = record["device_id"]
    return {"_id": device_prefix(record["device_name"]) + (device_id or "").encode(), "device_id": device_id}


def _text(attributes: Mapping[str, Any], name: str) -> str | None:
    value = attributes.get(name)
    return value if type(value) is str and len(value) <= MAX_LEGACY_TEXT else None


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def _upper(text: str | None) -> str | None:
    return None if text is None else text.upper()


def _moment_secs(value: object) -> int:
    """Epoch seconds of a date and time; 0 when a first token has none that can be read."""
    if type(value) is not str:
        return 0
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return 0
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
