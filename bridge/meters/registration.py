"""What people say of meters: to register one, to change it, and to settle what its readings contradict."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from bridge.meters.formats import Format
from energytag.models.common import Model, Positive, Text, Uuid

MOST_INTERVAL_SECS: Final = 3600
MOST_GRACE_SECS: Final = 7 * 86_400
MOST_SERIAL: Final = 64
SERIAL: Final = rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MOST_SERIAL - 1}}}"
"""No colon and no line break: a signed text can be taken apart in one way only."""
_PATHS: Final = frozenset({"batch", "conflicts", "readings", "submit-reading", "submit-readings", "unminted"})


def _serial(text: str) -> str:
    if text in _PATHS:
        raise ValueError("is the name of a route, and cannot be a serial")
    return text


def interval_divides(interval_secs: int) -> int:
    """The interval, if hours fall into whole numbers of it: certificates are of an hour at most, and none of
    their intervals may cut a reading."""
    if not 0 < interval_secs <= MOST_INTERVAL_SECS or MOST_INTERVAL_SECS % interval_secs:
        raise ValueError("must divide an hour")
    return interval_secs


Serial = Annotated[str, Field(pattern=f"^{SERIAL}$"), AfterValidator(_serial)]
Base58 = Annotated[str, Field(min_length=32, max_length=44, pattern="^[1-9A-HJ-NP-Za-km-z]+$")]
Signature58 = Annotated[str, Field(min_length=64, max_length=88, pattern="^[1-9A-HJ-NP-Za-km-z]+$")]
Interval = Annotated[int, Field(ge=1, le=MOST_INTERVAL_SECS, strict=True), AfterValidator(interval_divides)]


class Ownership(Model):
    """Whose meter it is, and how it signs."""

    wallet: Base58 = Field(description="The owner's wallet, which tokens are minted to: base58 of 32 bytes.")
    public_key: Base58 = Field(description="The meter's Ed25519 key: base58 of 32 bytes.")
    format: Format = Field(Format.GRIDTOKENX, description="The text that it signs.")
    interval_secs: Interval | None = Field(
        None, description="Length of its metering interval; it divides an hour. Default: `meters.interval_secs`."
    )
    meter_id: Annotated[str, Field(pattern=f"^{SERIAL}$")] | None = Field(
        None, description="What the meter calls itself in `meter_id`, when that is not its serial."
    )
    account_id: Uuid | None = Field(None, description="The registry's account that it belongs to.")
    device_id: Uuid | None = Field(None, description="The registry's device that it measures; of that account.")
    zone: Text | None = Field(None, description="Where it is, for people.")
    capacity_w: Positive | None = Field(None, description="Capacity of what it measures, in W.")
    mirror: bool = Field(
        False,
        description="Mint its readings into the bridge's custody, and issue certificates to its account; "
        "needs account_id and device_id.",
    )


class Registration(Ownership):
    """A new meter."""

    serial: Serial = Field(description="Its serial: letters, digits, dots, dashes and underscores; 64 at most.")
    verified: bool = Field(False, description="Verify it with this very call; for the operator only.")


class Reason(Model):
    """Why; kept with the meter."""

    reason: Text | None = None


class Rotation(Model):
    """A new key. The operator needs say no more; a meter shows that it holds both keys."""

    public_key: Base58 = Field(description="The new key.")
    grace_secs: Annotated[int, Field(ge=0, le=MOST_GRACE_SECS, strict=True)] = Field(
        3600, description="How long readings from before the rotation are still taken under the old key."
    )
    timestamp: Text | None = Field(None, description="When this was signed: RFC 3339, whole seconds of UTC.")
    old_signature: Signature58 | None = Field(None, description="The old key's signature over the rotation's text.")
    new_signature: Signature58 | None = Field(None, description="The new key's signature over the same text.")


class Decision(StrEnum):
    """What a person says of readings that contradict each other."""

    KEEP = "keep"
    """The first one holds, and goes on."""
    TAKE = "take"
    """A second one holds, and stands in the first one's place."""
    REJECT = "reject"
    """None of them; nothing of this interval is minted."""


class Judgement(Model):
    """A person's word on readings that contradict each other."""

    decision: Decision
    conflict_id: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        None, description="Which second reading is taken, where there are several."
    )
