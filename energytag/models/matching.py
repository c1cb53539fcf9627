"""Questions about matching, the residual mix and cancellations, and their answers. Beyond EnergyTag's API."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from certificates.matching import HOUR_SECS, Granularity, Window
from energytag.models.common import MAX_INTEGER, Model, Moment, Reply, Text, Uuid, secs_of

MOST_DAYS: Final = 3660
"""Days of one question."""
_LAST_SECS: Final = 253_370_764_800
"""9999-01-01: the periods of all moments before end within the calendar."""


def _on_the_hour(moment: str) -> str:
    if secs_of(moment) % HOUR_SECS or "." in moment:
        raise ValueError("must be on the hour")
    return moment


Hour = Annotated[Moment, AfterValidator(_on_the_hour), WithJsonSchema({"type": "string", "format": "date-time"})]


class _Windowed(Model):
    """A question about a time."""

    start: Hour = Field(description="On the hour.")
    end: Hour = Field(description="On the hour; not included.")

    @model_validator(mode="after")
    def _some_time(self) -> _Windowed:
        start, end = self.window
        if not 0 < end - start <= MOST_DAYS * 86_400:
            raise ValueError(f"end must be after start, by {MOST_DAYS} days at most")
        if end > _LAST_SECS:
            raise ValueError("end must be before the year 9999")
        return self

    @property
    def window(self) -> Window:
        return Window(secs_of(self.start), secs_of(self.end))


class MatchingQuestion(_Windowed):
    """What an account consumed, against what was cancelled for it."""

    account_id: Uuid = Field(description="Whose consumption.")
    granularity: Granularity = Field(Granularity.HOUR, description="The periods that are listed.")
    zone: Text | None = Field(None, description="Only this market zone.")


class ResidualQuestion(_Windowed):
    """What of a zone's energy nobody may claim. `total_consumption_wh` is the whole zone's in that time."""

    zone: Text = Field(description="The market zone.")
    total_consumption_wh: Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None = Field(
        None, description="What was consumed in the whole zone, Wh."
    )


class StatementQuestion(Model):
    """Which cancellations: those of an account, by production period or issuance, or those of one action."""

    account_id: Uuid | None = Field(None, description="The account in which the cancelled certificates stand.")
    start: Moment | None = Field(None, description="Production from this moment on.")
    end: Moment | None = Field(None, description="Production up to this moment.")
    issuance_id: Uuid | None = Field(None, description="Only of this issuance.")
    action_id: Uuid | None = Field(None, description="What this action cancelled; instead of all others.")

    @model_validator(mode="after")
    def _one_question(self) -> StatementQuestion:
        if self.action_id is not None:
            if self.model_fields_set != {"action_id"}:
                raise ValueError("action_id says it all; leave the others out")
        elif self.account_id is None:
            raise ValueError("name account_id, or action_id")
        elif self.issuance_id is None and (self.start is None or self.end is None):
            raise ValueError("give start and end, or issuance_id")
        return self


class Coverage(Reply):
    """Consumption and cancelled energy, Wh. `coverage` is an exact fraction such as `3/5`, `coverage_percent`
    has two decimals, rounded down; both are null without consumption, where there is nothing to cover."""

    consumption_wh: int
    cancelled_wh: int
    matched_wh: int
    excess_wh: int
    uncovered_wh: int
    coverage: str | None
    coverage_percent: str | None


class MatchedPeriod(Coverage):
    """One period, cut to the time that was asked about."""

    start: str
    end: str


class MatchedZone(Reply):
    """One market zone: its periods that had any energy, and the sums of the periods at each granularity."""

    zone: str
    periods: list[MatchedPeriod]
    totals: dict[str, Coverage]


class Matching(Reply):
    """The answer about matching. `totals` are over all zones, at each granularity; zones never cover each
    other. `certificates` counts the bundles that were looked at."""

    account_id: str
    start: str
    end: str
    granularity: Granularity
    zones: list[MatchedZone]
    totals: dict[str, Coverage]
    certificates: int


class SourceBalance(Reply):
    """One energy source, Wh: production − cancelled − exported = residual. Held, expired and lost energy is
    part of the residual; withdrawn energy counts as never issued."""

    energy_source: str
    production_wh: int
    measured_wh: int
    issued_wh: int
    cancelled_wh: int
    exported_wh: int
    residual_wh: int
    held_wh: int
    expired_wh: int
    lost_wh: int
    withdrawn_wh: int


class MixPart(Reply):
    """A source's part of the residual mix: exact, and as percent with two decimals, rounded down."""

    energy_source: str
    energy_wh: int
    share: str
    share_percent: str


class ResidualMixReply(Reply):
    """The residual mix of a zone. It is provisional while `held_wh` is not 0: that energy may yet be cancelled.
    `untracked_wh` is null when the zone's consumption was not given."""

    zone: str
    start: str
    end: str
    sources: list[SourceBalance]
    total_consumption_wh: int | None
    untracked_wh: int | None
    held_wh: int
    is_final: bool
    mix: list[MixPart]


class Retirement(Reply):
    """A range of certificates that was cancelled: where and when it was made, for whom it was retired, and in
    which transaction."""

    issuance_id: str
    bundle_id_range_start: int
    bundle_id_range_end: int
    certificates: int
    energy_wh: int
    device_id: str
    device_name: str
    energy_source: str
    zone: str
    country: str
    production_starting_interval: str
    production_ending_interval: str
    issuing_body: str
    issuer_key: str
    beneficiary: str
    beneficiary_key: str | None
    tx_id: str


class EnergyOf(Reply):
    """Energy of one source, zone and month (of the start of production)."""

    energy_source: str
    zone: str
    month: str
    energy_wh: int


class RetiredFor(Reply):
    """What was retired for one beneficiary."""

    beneficiary: str
    beneficiary_key: str | None
    certificates: int
    energy_wh: int


class Statement(Reply):
    """What a statement states. `registry_key` is the identity key of the registry that makes it; `question` is
    what was asked; `period_start` and `period_end` are of what was found, null when that is nothing."""

    version: int
    registry_key: str
    question: dict[str, str]
    period_start: str | None
    period_end: str | None
    certificates: int
    energy_wh: int
    beneficiaries: list[RetiredFor]
    energy: list[EnergyOf]
    retirements: list[Retirement]


class CancellationStatement(Reply):
    """A statement with what may change about it. `statement_id` is the SHA-256 of the canonical JSON (RFC 8785)
    of `statement`: the same cancellations give the same statement, however their proofs stand and whatever was
    claimed since, or charged into a store (which covers no consumption by itself). `timestamp_proofs` are by
    `tx_id`."""

    statement_id: str
    statement: Statement
    registry: str
    account_name: str
    claimed_wh: int
    charged_wh: int
    timestamp_proofs: dict[str, dict[str, Any]]
