"""Whether certificates may be issued of lots at all, as their devices are registered now.

A meter says how much was made; what kind of energy it is, and how much the device can make, its registration in the
registry says, which is changed, or left incomplete, by its owner.
"""

from __future__ import annotations

from collections.abc import Sequence

from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import UNITS_PER_WH
from bridge.mirror.provenance.lots import Lot
from bridge.mirror.to_bsv.issuing import request_of
from bridge.mirror.to_bsv.posting import Refused
from config.errors import BadRequest
from energytag.issuing import checked
from energytag.plan import Holder
from energytag.records import DEVICES
from store.port import Document


class Fitness:
    """Asks the registry's devices, and what every issuance is checked by."""

    def __init__(self, ground: MirrorGround) -> None:
        self._ground = ground
        self._registry = ground.registry.ground

    async def faults_of(self, lots: Sequence[Lot]) -> list[str | None]:
        """Why nothing may be issued of each lot, of all that it was: a part alone might pass for possible."""
        devices = await self._ground.store.get_many(DEVICES, list({lot.device_id for lot in lots}))
        return [self._fault(lot, devices.get(lot.device_id)) for lot in lots]

    def _fault(self, lot: Lot, device: Document | None) -> str | None:
        holder = Holder(lot.account_id, self._ground.identity, is_custodial=False)
        try:
            wh = lot.units // UNITS_PER_WH
            request = request_of(self._ground, holder, lot.document(), wh, device)
            checked(request, self._ground.now_ms(), self._registry.policy)
        except (BadRequest, Refused) as fault:
            return str(fault)
        return None
