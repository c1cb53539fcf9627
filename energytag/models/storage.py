"""Bodies of the calls on storage records, and what they answer.

The fields are those of EnergyTag's schemas; extensions are marked. Fractions are answered as a numerator and a
denominator in decimal digits, since both may be longer than the numbers of JSON readers.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from certificates.allocation import Method
from certificates.bundle import source_word
from energytag.models.certificates import UnnumberedBundle
from energytag.models.common import (
    EXTENSION,
    MAX_INTEGER,
    Model,
    Moment,
    Positive,
    Reply,
    Text,
    Uuid,
    Whole,
    extension,
    whole_number,
)

MOST_SPARSE: Final = 1000
MOST_SOURCES: Final = 32
MOST_CHARGES: Final = 500
"""Charges that one discharge may draw on."""


_METHODS: Final = {
    "fifo": Method.FIFO,
    "lifo": Method.LIFO,
    "weighted_average": Method.WEIGHTED_AVERAGE,
    "operator_s_discretion": Method.DISCRETION,
    "operators_discretion": Method.DISCRETION,
    "storage_operator_s_discretion": Method.DISCRETION,
    "storage_operators_discretion": Method.DISCRETION,
    "operator_s_choice": Method.DISCRETION,
    "operators_choice": Method.DISCRETION,
}


def _method(value: str) -> str:
    method = _METHODS.get(source_word(value))
    if method is None:
        raise ValueError(f"must be one of {', '.join(Method)}")
    return method.value


def _source(value: str) -> str:
    if not source_word(value):
        raise ValueError("must have a letter in it")
    return value


MethodText = Annotated[
    Text, AfterValidator(_method), WithJsonSchema({"type": "string", "enum": [method.value for method in Method]})
]
SourceText = Annotated[Text, AfterValidator(_source)]
WattHours = Annotated[
    Positive,
    BeforeValidator(whole_number),
    WithJsonSchema({"type": "number", "multipleOf": 1, "minimum": 1, "maximum": MAX_INTEGER}),
]

_DEVICE: Final = "The storage device; needed when the account has more than one."
_ACCOUNT: Final = "The account of the storage device; needed when the caller acts for more than one that has any."
_USER: Final = "The user in whose name the call is made: the caller."


class _RecordBase(Model):
    device_id: Uuid | None = extension(_DEVICE)
    source_account_id: Uuid | None = extension(_ACCOUNT)
    source_user_id: Uuid | None = extension(_USER)


class StorageChargeRecordBase(_RecordBase):
    """A charge, and the cancelled certificates that back it."""

    charging_start_datetime: Moment
    charging_end_datetime: Moment
    charging_energy: Positive = Field(description="Wh.")
    charging_energy_source: SourceText
    gc_issuance_id: Uuid
    gc_bundle_id_range_start: Whole
    gc_bundle_id_range_end: Whole
    scr_geographic_matching_method: Text
    sdr_allocation_id: Uuid | None = Field(None, exclude=True, description="The registry's to fill in.")

    @model_validator(mode="after")
    def _range_fits(self) -> StorageChargeRecordBase:
        if self.gc_bundle_id_range_start > self.gc_bundle_id_range_end:
            raise ValueError("gc_bundle_id_range_start is above gc_bundle_id_range_end")
        return self


class EfficiencyFactor(Model):
    """Wh that came out of Wh that went in."""

    numerator: Positive
    denominator: Positive

    @model_validator(mode="after")
    def _at_most_one(self) -> EfficiencyFactor:
        if self.numerator > self.denominator:
            raise ValueError("more comes out than goes in")
        return self


class ChosenCharge(Model):
    """A charge that the operator chose, and the Wh of the discharge that it covers."""

    scr_allocation_id: Uuid
    energy: WattHours


Choice = Annotated[list[ChosenCharge], Field(min_length=1, max_length=MOST_CHARGES)]


def _check_choice(choice: list[ChosenCharge] | None) -> None:
    if choice is not None and len({each.scr_allocation_id for each in choice}) < len(choice):
        raise ValueError("allocations name a charge twice")


class StorageDischargeRecordBase(_RecordBase):
    """A discharge. Its efficiency is `efficiency_factor`, else it is computed from the device's records in the
    efficiency interval, which by default are the six months up to the end of this discharge."""

    discharging_start_datetime: Moment
    discharging_end_datetime: Moment
    discharge_energy: WattHours = Field(description="Wh, a whole number.")
    charging_energy_source: SourceText
    scr_allocation_methodology: MethodText
    efficiency_factor_methodology: Text
    efficiency_factor_interval_start: Moment | None = None
    efficiency_factor_interval_end: Moment | None = None
    efficiency_factor: EfficiencyFactor | None = extension("Output by input, where records do not tell.")
    parasitic_energy: Whole | None = extension(
        "Wh that the device used itself in the efficiency interval and that are in no charge."
    )
    allocations: Choice | None = extension("For the operator's discretion: the charges, and what each covers.")

    @model_validator(mode="after")
    def _fields_agree(self) -> StorageDischargeRecordBase:
        if (self.efficiency_factor_interval_start is None) is not (self.efficiency_factor_interval_end is None):
            raise ValueError("the ends of the efficiency interval come together or not at all")
        if self.efficiency_factor is not None and self.parasitic_energy is not None:
            raise ValueError("parasitic_energy goes with a factor that is computed")
        if (self.scr_allocation_methodology == Method.DISCRETION) is (self.allocations is None):
            raise ValueError("the operator's discretion needs allocations, and nothing else has them")
        _check_choice(self.allocations)
        return self


class StorageAllocation(Model):
    """Another choice of the operator's for a discharge."""

    source_account_id: Uuid
    source_user_id: Uuid
    sdr_allocation_id: Uuid
    allocations: Choice

    @model_validator(mode="after")
    def _once_each(self) -> StorageAllocation:
        _check_choice(self.allocations)
        return self


class StorageAction(Model):
    """Which records of an account are meant. The sparse list overrides the other criteria: the records of each
    device that begin at the moment named for it."""

    action_response_status: Text | None = Field(None, exclude=True)
    source_account_id: Uuid
    source_user_id: Uuid
    action_id: Uuid | None = Field(None, exclude=True)
    action_request_datetime: Moment | None = Field(None, exclude=True)
    action_completed_datetime: Moment | None = Field(None, exclude=True)
    source_allocation_id: Uuid | None = None
    charging_period_start: Moment | None = None
    charging_period_end: Moment | None = None
    storage_device_id: Uuid | None = None
    storage_energy_source: Annotated[list[SourceText], Field(min_length=1, max_length=MOST_SOURCES)] | None = None
    sparse_filter_list: Annotated[dict[Uuid, Moment], Field(min_length=1, max_length=MOST_SPARSE)] | None = None


class StorageQuery(StorageAction):
    limit: Positive | None = extension("Most records to answer.")
    cursor: Annotated[str, Field(max_length=256)] | None = extension("That of the answer before this one.")


class StorageActionUpdateMutables(StorageAction):
    """New values for what may change of the records that are meant."""

    account_id: Uuid | None = extension("The account that the records' device is registered to now.")
    scr_geographic_matching_method: Text | None = extension("Another geographic matching method of charges.")
    efficiency_factor_methodology: Text | None = extension("Another name of a discharge's method.")


class StorageBundle(UnnumberedBundle):
    """A bundle to issue from a discharge record. What its record tells may be left out."""


# Answers


class Ratio(Reply):
    numerator: Annotated[str, Field(pattern="^[0-9]+$")]
    denominator: Annotated[str, Field(pattern="^[1-9][0-9]*$")]

    @classmethod
    def of(cls, value: Fraction) -> Ratio:
        return cls(numerator=str(value.numerator), denominator=str(value.denominator))


class StorageChargeRecord(Reply):
    scr_allocation_id: Uuid
    account_id: Uuid
    device_id: Uuid
    charging_start_datetime: Moment
    charging_end_datetime: Moment
    charging_energy: int
    charging_energy_source: str
    gc_issuance_id: Uuid
    gc_bundle_id_range_start: int
    gc_bundle_id_range_end: int
    scr_geographic_matching_method: str
    sdr_allocation_id: Uuid | None = None
    energy_left: Ratio = Field(description="Wh that are not allocated.", json_schema_extra=EXTENSION)
    withdrawn_datetime: Moment | None = extension("When it was withdrawn.")


class AllocatedCharge(Reply):
    scr_allocation_id: Uuid
    energy: Ratio = Field(description="Wh of the discharge that the charge covers.")
    charged_energy: Ratio = Field(description="Wh of the charge that this takes.")
    proportion: Ratio = Field(description="The share of the discharge; all of them add up to 1.")


class StorageDischargeRecord(Reply):
    sdr_allocation_id: Uuid
    scr_allocation_id: Uuid = Field(description="The first of the charges that it draws on.")
    account_id: Uuid
    device_id: Uuid
    discharging_start_datetime: Moment
    discharging_end_datetime: Moment
    discharge_energy: int
    charging_energy_source: str
    scr_allocation_methodology: str
    efficiency_factor_methodology: str
    efficiency_factor_interval_start: Moment | None = None
    efficiency_factor_interval_end: Moment | None = None
    efficiency_factor: Ratio = Field(json_schema_extra=EXTENSION)
    allocations: list[AllocatedCharge] = Field(json_schema_extra=EXTENSION)
    sdgc_issuance_id: Uuid | None = extension("What was issued from it.")
    withdrawn_datetime: Moment | None = extension("When it was withdrawn.")


class StorageActionResponse(Reply):
    action_response_status: str
    source_account_id: Uuid
    source_user_id: Uuid
    action_id: Uuid | None = None
    action_request_datetime: Moment | None = None
    action_completed_datetime: Moment | None = None
    source_allocation_id: Uuid | None = None
    charging_period_start: Moment | None = None
    charging_period_end: Moment | None = None
    storage_device_id: Uuid | None = None
    storage_energy_source: list[str] | None = None
    sparse_filter_list: dict[str, Moment] | None = None
    action_state: str | None = extension("received, pending, resolved or rejected.")
    records: list[Uuid] | None = extension("The records that the action changed.")
    error: dict[str, str] | None = extension("Why it was rejected: code and message.")


class SCRQueryResponse(StorageActionResponse):
    filtered_scrs: list[StorageChargeRecord]
    next_cursor: str | None = extension("Where to go on; there is nothing more without it.")


class SDRQueryResponse(StorageActionResponse):
    filtered_sdrs: list[StorageDischargeRecord]
    next_cursor: str | None = extension("Where to go on; there is nothing more without it.")


class LineageCertificate(Reply):
    issuance_id: Uuid
    bundle_id_range_start: int
    bundle_id_range_end: int
    bundle_quantity: int
    energy: int = Field(description="Wh.")
    certificate_status: str
    account_id: Uuid
    tx_id: str
    outpoint: str = Field(description="`<txid>.<output index>`.")


class LineageCharge(Reply):
    record: StorageChargeRecord
    energy: Ratio
    charged_energy: Ratio
    losses: Ratio
    proportion: Ratio
    certificates: list[LineageCertificate] = Field(description="The cancelled certificates that back the charge.")


class LineageEfficiency(Reply):
    factor: Ratio
    methodology: str
    interval_start: Moment | None = None
    interval_end: Moment | None = None
    input_energy: int | None = Field(None, description="Wh that went in, parasitic consumption included.")
    output_energy: int | None = Field(None, description="Wh that came out.")
    parasitic_energy: int | None = None
    losses: int | None = None


class StorageLineage(Reply):
    """What was issued from a discharge, the discharge, its charges, and what backs them. Energy is in Wh."""

    record: StorageDischargeRecord
    sdgc_issuance_id: Uuid | None = None
    certificates: list[LineageCertificate] = Field(description="What was issued from the discharge, as it stands.")
    efficiency: LineageEfficiency
    energy: int
    charged_energy: Ratio
    losses: Ratio
    charges: list[LineageCharge]
