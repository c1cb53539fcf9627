"""A valid request for each operation of the specification, made anew for each test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from tests.conformance.world import HOUR, Json, World, moment


@dataclass(frozen=True)
class Valid:
    """A body, and the id that stands in the path."""

    body: Json | None = None
    subject_id: str | None = None


Make: TypeAlias = Callable[[World], Valid]


def _noun(name: str) -> dict[tuple[str, str], Make]:
    """The four operations on an organisation, a user, an account or a device."""
    plural, id_name = f"/{name}s", f"{name}_id"

    def body(world: World) -> Json:
        made: Json = getattr(world, f"{name}_body")()
        return made

    def fresh(world: World) -> str:
        return str(world.made(plural, body(world))[id_name])

    def update(world: World) -> Valid:
        # What EnergyTag's schemas of changes have in common with those of creation.
        changes = {key: value for key, value in body(world).items() if key not in ("location", "country", "zone")}
        return Valid(changes, fresh(world))

    one = f"{plural}/{{{id_name}}}"
    return {
        ("POST", plural): lambda world: Valid(body(world)),
        ("GET", one): lambda world: Valid(None, fresh(world)),
        ("PATCH", one): update,
        ("DELETE", one): lambda world: Valid(None, fresh(world)),
    }


def _on_bundle(**more: Any) -> Make:
    return lambda world: Valid(world.of_bundle(world.issued(), **more))


def _transfer(**more: Any) -> Make:
    return lambda world: Valid(
        world.of_bundle(world.issued(), target_account_id=world.target["account_id"], **more)
    )


VALID: Final[Mapping[tuple[str, str], Make]] = {
    **_noun("organisation"),
    **_noun("user"),
    **_noun("account"),
    **_noun("device"),
    ("POST", "/certificates/create"): lambda world: Valid(world.bundle_body()),
    ("GET", "/certificates/query"): _on_bundle(
        certificate_period_start=moment(HOUR), energy_source=["solar_pv"], certificate_status="Active"
    ),
    ("POST", "/certificates/transfer"): _transfer(certificate_quantity=10),
    ("POST", "/certificates/cancel"): _on_bundle(beneficiary="Somebody else"),
    ("POST", "/certificates/claim"): lambda world: Valid(world.of_bundle(world.cancelled())),
    ("POST", "/certificates/withdraw"): _on_bundle(),
    ("POST", "/certificates/reserve"): _on_bundle(target_registry="Another registry"),
    ("POST", "/certificates/recurring_transfer"): _transfer(
        initial_transfer_datetime="2030-01-01T00:00:00Z",
        recurring_transfer_period_units="months",
        recurring_transfer_period_quantity=1,
        number_of_recurring_transfers=12,
    ),
    ("POST", "/certificates/recurring_cancel"): _on_bundle(
        initial_cancellation_datetime="2030-01-01T00:00:00Z",
        recurring_cancellation_period_units="months",
        recurring_cancellation_period_quantity=1,
        number_of_recurring_cancellations=12,
    ),
    ("PATCH", "/certificates/update_mutables"): _on_bundle(certificate_status="Reserved"),
    ("POST", "/storage/create_scr"): lambda world: Valid(world.charge_body(world.battery())),
    ("POST", "/storage/create_sdr"): lambda world: Valid(world.discharge_body()),
    ("GET", "/storage/query_scr"): lambda world: Valid(_charge_of(world)),
    ("GET", "/storage/query_sdr"): lambda world: Valid(_discharge_of(world)),
    ("POST", "/storage/withdraw_scr"): lambda world: Valid(_charge_of(world)),
    ("POST", "/storage/withdraw_sdr"): lambda world: Valid(_discharge_of(world)),
    ("PATCH", "/storage/update_mutables"): lambda world: Valid(_charge_of(world)),
    ("POST", "/storage/issue_sdgc"): lambda world: Valid(world.storage_bundle_body()),
}


def _charge_of(world: World) -> Json:
    return world.of_record(world.charge(world.battery())["scr_allocation_id"])


def _discharge_of(world: World) -> Json:
    return world.of_record(world.discharge()["sdr_allocation_id"])
