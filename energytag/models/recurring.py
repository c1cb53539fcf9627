"""Bodies of the calls that begin and stop recurring actions, and what is told of these."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from energytag.models.certificate_actions import (
    CertificateActionBase,
    GranularCertificateCancellation,
    GranularCertificateTransfer,
)
from energytag.models.common import EXTENSION, Moment, Reply, Uuid
from energytag.schedule import Unit

MOST_UNITS: Final = 10_000
MOST_OCCURRENCES: Final = 100_000

Units = Annotated[int, Field(ge=1, le=MOST_UNITS, strict=True)]
Occurrences = Annotated[int, Field(ge=1, le=MOST_OCCURRENCES, strict=True)]


def _window_moves() -> Any:
    return Field(
        False,
        description="Move certificate_period_start and _end on with each occurrence.",
        json_schema_extra=EXTENSION,
    )


def _check_period(unit: Unit | None, quantity: int | None, number: int | None, units_name: str) -> None:
    """How often and how many make no sense without a unit of time."""
    if unit is None and (quantity is not None or (number or 1) > 1):
        raise ValueError(f"a period, or more than one occurrence, needs {units_name}")


class GranularCertificateRecurringTransfer(GranularCertificateTransfer):
    """A transfer at each occurrence of a schedule. Without units it occurs once; without a number it goes on
    until it is stopped."""

    initial_transfer_datetime: Moment
    recurring_transfer_period_units: Unit | None = None
    recurring_transfer_period_quantity: Units | None = None
    number_of_recurring_transfers: Occurrences | None = None
    certificate_period_moves: bool = _window_moves()

    @model_validator(mode="after")
    def _period_fits(self) -> GranularCertificateRecurringTransfer:
        units, quantity = self.recurring_transfer_period_units, self.recurring_transfer_period_quantity
        _check_period(units, quantity, self.number_of_recurring_transfers, "recurring_transfer_period_units")
        return self


class GranularCertificateRecurringCancellation(GranularCertificateCancellation):
    """A cancellation at each occurrence of a schedule, as with recurring transfers."""

    initial_cancellation_datetime: Moment
    recurring_cancellation_period_units: Unit | None = None
    recurring_cancellation_period_quantity: Units | None = None
    number_of_recurring_cancellations: Occurrences | None = None
    certificate_period_moves: bool = _window_moves()

    @model_validator(mode="after")
    def _period_fits(self) -> GranularCertificateRecurringCancellation:
        units, quantity = self.recurring_cancellation_period_units, self.recurring_cancellation_period_quantity
        number = self.number_of_recurring_cancellations
        _check_period(units, quantity, number, "recurring_cancellation_period_units")
        return self


class GranularCertificateRecurringClaim(CertificateActionBase):
    """A claim at each occurrence of a schedule, as with recurring transfers."""

    initial_claim_datetime: Moment
    recurring_claim_period_units: Unit | None = None
    recurring_claim_period_quantity: Units | None = None
    number_of_recurring_claims: Occurrences | None = None
    certificate_period_moves: bool = _window_moves()

    @model_validator(mode="after")
    def _period_fits(self) -> GranularCertificateRecurringClaim:
        units, quantity = self.recurring_claim_period_units, self.recurring_claim_period_quantity
        _check_period(units, quantity, self.number_of_recurring_claims, "recurring_claim_period_units")
        return self


class OccurrenceRead(Reply):
    """One occurrence: the action that carried it out, and when it was due."""

    occurrence: int = Field(description="Counted from 0.")
    due_datetime: Moment
    action_id: Uuid
    action_state: str
    tx_ids: list[str]
    error: dict[str, str] | None = None


class RecurringRead(Reply):
    """A recurring action. `state` is active, finished or stopped; `next_datetime` is null when it is not active."""

    recurring_id: Uuid = Field(description="The id of the action that began it.")
    action: str
    state: str
    account_id: Uuid
    user_id: Uuid | None
    created_datetime: Moment
    initial_datetime: Moment
    period_units: Unit
    period_quantity: int
    number_of_occurrences: int | None
    past_occurrences: int
    next_datetime: Moment | None
    request: dict[str, Any]
    occurrences: list[OccurrenceRead] = Field(description="The latest first; empty in a list of recurring actions.")


class RecurringList(Reply):
    """Recurring actions of an account, the latest first; `cursor` is null on the last page."""

    recurring: list[RecurringRead]
    cursor: str | None
