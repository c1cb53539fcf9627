"""The handlers of all that is done with storage records."""

from __future__ import annotations

from functools import partial

from energytag.actions import Kind
from energytag.draft import Drawing
from energytag.ground import RegistryGround
from energytag.plan import Handler
from energytag.storage_allocating import draw_allocation
from energytag.storage_charging import draw_charge
from energytag.storage_discharging import draw_discharge
from energytag.storage_issuing import StorageIssuing
from energytag.storage_records import SCRS, SDRS
from energytag.storage_withdrawing import Changing, update_records, withdraw_charges, withdraw_discharges


def handlers(ground: RegistryGround) -> dict[Kind, Handler]:
    """By kind. Only `ISSUE_SDGC` puts anything on chain."""
    return {
        Kind.CREATE_SCR: Drawing(partial(draw_charge, keyring=ground.keyring), reads_holdings=True),
        Kind.CREATE_SDR: Drawing(draw_discharge),
        Kind.ALLOCATE_STORAGE: Drawing(draw_allocation),
        Kind.WITHDRAW_SCR: Changing((SCRS,), withdraw_charges),
        Kind.WITHDRAW_SDR: Changing((SDRS,), withdraw_discharges),
        Kind.STORAGE_UPDATE_MUTABLES: Changing((SCRS, SDRS), update_records),
        Kind.ISSUE_SDGC: StorageIssuing(ground),
    }
