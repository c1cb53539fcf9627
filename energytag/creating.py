"""`create` and `create_many`: bundles as a caller states them, or as a device's readings give them.

A stated bundle must agree with what is registered of its device and account, and with the issuing body. From
readings the registry writes the whole bundle itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from certificates.bundle import MUTABLE, source_word
from certificates.document import Json
from config.errors import BadRequest, ErrorCode, NotFound
from energytag.accounts import holder_of
from energytag.actions import Action, Kind
from energytag.draft import is_there
from energytag.ground import RegistryGround
from energytag.issuing import IssueRequest, holders_of, plan_issuance
from energytag.models.common import moment_of_ms
from energytag.plan import Handler, Holder, Plan, Scene
from energytag.records import DEVICES
from store.port import Document, Reader

_DAY_MS: Final = 86_400_000


class AttributesDiffer(BadRequest):
    """An attribute is not what is registered."""

    default_code = ErrorCode.ATTRIBUTES_DIFFER


@dataclass(frozen=True, slots=True)
class Registered:
    """A device, and the account that its certificates go to."""

    device: Document
    holder: Holder


async def registered(reader: Reader, ground: RegistryGround, device_ids: Iterable[str]) -> dict[str, Registered]:
    """Devices by id; `NotFound(DEVICE_UNKNOWN)` names the first that is not registered."""
    wanted = list(dict.fromkeys(device_ids))
    devices = await reader.get_many(DEVICES, list(wanted))
    holders: dict[str, Holder] = {}
    for device_id in wanted:
        device = devices.get(device_id)
        if device is None or not is_there(device):
            raise NotFound(f"device {device_id} is not registered", ErrorCode.DEVICE_UNKNOWN)
        account_id = device["account_id"]
        if account_id not in holders:
            holders[account_id] = await holder_of(reader, ground.keyring, account_id)
    return {each: Registered(devices[each], holders[devices[each]["account_id"]]) for each in wanted}


async def producing(reader: Reader, ground: RegistryGround, device_ids: Iterable[str]) -> dict[str, Registered]:
    """`registered`, but for storage: what that gives back is not produced, and has certificates of its own kind
    (`issue_sdgc`), against its records. `AttributesDiffer` then."""
    known = await registered(reader, ground, device_ids)
    for device_id, each in known.items():
        if each.device.get("is_storage"):
            raise AttributesDiffer(f"device {device_id} is storage; issue for what it discharges by issue_sdgc")
    return known


@dataclass(frozen=True, slots=True)
class Creating:
    """The handler of both kinds."""

    ground: RegistryGround
    reads_holdings: bool = False

    async def plan(self, action: Action, scene: Scene) -> Plan:
        requests = await self._requests(action, scene)
        most = self.ground.settings.registry.bundles_per_action
        if len(requests) > most:
            raise BadRequest(f"an action may issue {most} bundles", ErrorCode.INVALID_FIELD)
        is_private = action.request.get("broadcast") is False
        if is_private and len(holders_of(requests)) > 1:
            raise BadRequest("private bundles go to one account, which publishes them", ErrorCode.INVALID_FIELD)
        issuance = await plan_issuance(requests, action, scene, self.ground.policy)
        return Plan(
            issuance.pieces,
            decision=issuance.decision,
            memo=issuance.memo,
            result=_result(requests),
            touches=holders_of(requests),
            is_private=is_private,
        )

    async def _requests(self, action: Action, scene: Scene) -> list[IssueRequest]:
        body = action.request
        if action.kind is Kind.CREATE:
            return list(await self._stated([body], scene.reader, None))
        if "bundles" in body:
            return list(await self._stated(body["bundles"], scene.reader, 1))
        return await self._metered(body, scene)

    async def _stated(
        self, bundles: Sequence[Mapping[str, Any]], reader: Reader, first_row: int | None
    ) -> Iterator[IssueRequest]:
        known = await producing(reader, self.ground, (bundle["device_id"] for bundle in bundles))
        issuing_body = self.ground.settings.registry.issuing_body
        return (
            stated_request(
                bundle, known[bundle["device_id"]], issuing_body, None if first_row is None else first_row + index
            )
            for index, bundle in enumerate(bundles)
        )

    async def _metered(self, body: Mapping[str, Any], scene: Scene) -> list[IssueRequest]:
        known = (await producing(scene.reader, self.ground, [body["device_id"]]))[body["device_id"]]
        settings = self.ground.settings.registry
        face_value = body.get("face_value", 1)
        constant = device_attributes(known.device, settings.issuing_body) | {
            "account_id": known.holder.account_id,
            "face_value": face_value,
            "issuance_datestamp": moment_of_ms(scene.now_ms)[:10],
        }
        lifetime_ms = settings.lifetime_days * _DAY_MS
        return [
            metered_request(constant, known.holder, reading, row, lifetime_ms)
            for row, reading in enumerate(body["readings"], 1)
        ]


def handlers(ground: RegistryGround) -> dict[Kind, Handler]:
    creating = Creating(ground)
    return {Kind.CREATE: creating, Kind.CREATE_MANY: creating}


def stated_request(
    bundle: Mapping[str, Any], known: Registered, issuing_body: str, row: int | None
) -> IssueRequest:
    """What is to be issued of a stated bundle; `AttributesDiffer`, or RANGE_INVALID when its range is none."""
    check_against(bundle, known.device, issuing_body, row)
    quantity, start = bundle.get("bundle_quantity"), bundle.get("bundle_id_range_start")
    if quantity is None:
        raise BadRequest(_in_row(row, "bundle_quantity is missing"), ErrorCode.RANGE_INVALID)
    if start is not None and bundle.get("bundle_id_range_end") != start + quantity - 1:
        message = f"bundle_id_range_end must be {start + quantity - 1}: start + bundle_quantity - 1"
        raise BadRequest(_in_row(row, message), ErrorCode.RANGE_INVALID)
    attributes = {
        name: value
        for name, value in bundle.items()
        if (name not in MUTABLE or name == "account_id") and name not in ("broadcast", "issuance_id")
    }
    return IssueRequest(attributes, quantity, known.holder, start, row)


def check_against(bundle: Mapping[str, Any], device: Document, issuing_body: str, row: int | None = None) -> None:
    """`AttributesDiffer` when a bundle says another thing than is registered."""
    expected = device_attributes(device, issuing_body)
    expected["account_id"] = device["account_id"]
    expected["certificate_status"] = "Active"
    for name, value in expected.items():
        stated = bundle.get(name)
        if stated != value and not _alike(name, stated, value):
            raise AttributesDiffer(_in_row(row, f"{name} is {stated!r}, and {value!r} is registered"))


def _alike(name: str, stated: Json, value: Json) -> bool:
    """Spelling of sources and carriers is free: `Solar PV` is `solar_pv`."""
    if name in ("energy_source", "energy_carrier", "device_technology_type") and type(stated) is str:
        return source_word(stated) == source_word(str(value))
    return False


def device_attributes(device: Document, issuing_body: str) -> dict[str, Json]:
    """What a device's registration settles of its bundles; attributes that it leaves open are not in it."""
    settled: dict[str, Json] = {
        "device_id": device["_id"],
        "device_name": device["device_name"],
        "device_technology_type": device["technology_type"],
        "device_production_start_date": device["operational_date"],
        "device_capacity": device["capacity_w"],
        "energy_source": device["energy_source"],
        "connected_grid_identification": device["grid"],
        "issuing_body": issuing_body,
    }
    settled |= {name: device[field] for name, field in _OPTIONAL.items() if device.get(field) is not None}
    return settled


_OPTIONAL: Final = {"country_of_issuance": "country", "issue_market_zone": "zone", "device_location": "location"}
"""What a device may be registered without, by the attribute that is made of it."""


def metered_request(
    constant: Mapping[str, Json], holder: Holder, reading: Mapping[str, Any], row: int, lifetime_ms: int
) -> IssueRequest:
    """The bundle of one reading; `constant` is what all readings of the device have in common."""
    if missing := [field for name, field in _OPTIONAL.items() if name not in constant]:
        raise AttributesDiffer(f"the device is registered without {', '.join(missing)}: update it first")
    energy_wh, face_value = reading["energy_wh"], int(constant["face_value"])
    if energy_wh % face_value:
        message = f"{energy_wh} Wh is no whole number of certificates of {face_value} Wh"
        raise BadRequest(_in_row(row, message), ErrorCode.RANGE_INVALID)
    attributes = {
        **_ORDINARY,
        **constant,
        "production_starting_interval": reading["start"],
        "production_ending_interval": reading["end"],
        "expiry_datestamp": _expiry(reading["end"], lifetime_ms),
    }
    return IssueRequest(attributes, energy_wh // face_value, holder, None, row)


_ORDINARY: Final[dict[str, Json]] = {
    "device_type": "production",
    "energy_carrier": "electricity",
    "issuance_post_energy_carrier_conversion": False,
    "registry_configuration": 1,
}


def _expiry(end: str, lifetime_ms: int) -> str:
    return (datetime.fromisoformat(end) + timedelta(milliseconds=lifetime_ms)).date().isoformat()


def _in_row(row: int | None, message: str) -> str:
    return message if row is None else f"row {row}: {message}"


def _result(requests: Sequence[IssueRequest]) -> dict[str, Any]:
    energy_wh = sum(each.quantity * int(each.attributes["face_value"]) for each in requests)
    return {"bundles": len(requests), "energy_wh": energy_wh}
