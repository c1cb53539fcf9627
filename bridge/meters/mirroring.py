"""Mirrored meters: their readings become tokens in the bridge's custody, and certificates of the meter's account.

A registration asks for it with `mirror`. The signed text goes on naming the owner's wallet; that the tokens go to
custody is the registration's word, and each reading keeps it (`mint_to`) as it was when it was taken. While the
node mirrors nothing, readings of such a meter are minted to the owner's wallet, as those of any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bridge.meters.faults import invalid
from bridge.meters.registration import Ownership
from store.port import Document


@dataclass(frozen=True, slots=True)
class Mirroring:
    """`wallet` is the bridge's, base58, which has custody; None where no meter can be mirrored, and `reason` says
    why."""

    wallet: str | None
    reason: str = ""

    def demand(self, owner: Ownership) -> None:
        """The error (422) of a registration that asks for what cannot be."""
        if not owner.mirror:
            return
        if self.wallet is None:
            raise invalid("mirror", f"is not possible here: {self.reason}")
        if owner.account_id is None or owner.device_id is None:
            raise invalid("mirror", "needs account_id and device_id: whose certificates, and of which device")

    def mint_to(self, meter: Document) -> str | None:
        """The wallet that a meter's readings are minted to; None for its owner's."""
        return self.wallet if is_mirrored(meter) else None


NOT_MIRRORING: Final = Mirroring(None, "this node is no bridge")


def is_mirrored(meter: Document) -> bool:
    """Meters that were registered before there was a mirror do not say."""
    return bool(meter.get("mirror"))


def minted_to(reading: Document) -> Any:
    """The wallet that a reading's tokens go to, base58."""
    return reading.get("mint_to") or reading["wallet"]
