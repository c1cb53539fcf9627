"""Bodies of `create`, `create_many` and `query`: EnergyTag's bundle and query, and what is added to them.

A bundle is checked here for types and spelling; what it must agree with is its action's matter.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from certificates.countries import COUNTRIES
from energytag.models.certificate_actions import CertificateActionBase, StatusText
from energytag.models.common import EXTENSION, Day, Model, Moment, Positive, Text, Uuid, Whole, extension

MOST_BUNDLES: Final = 20_000
"""Bundles, or readings, of one body; the registry's settings may hold an action to fewer."""
MAX_CURSOR: Final = 256
_MAX_FACTOR: Final = 2**53


def _country(code: str) -> str:
    if code not in COUNTRIES:
        raise ValueError("must be a country by ISO 3166-1 alpha-2, in capitals")
    return code


Country = Annotated[str, AfterValidator(_country)]
Latitude = Annotated[float, Field(ge=-90, le=90, strict=True)]
Longitude = Annotated[float, Field(ge=-180, le=180, strict=True)]
Location = tuple[Latitude, Longitude]
Factor = Annotated[float, Field(ge=-_MAX_FACTOR, le=_MAX_FACTOR, strict=True)]
Configuration = Annotated[int, Field(ge=1, le=3, strict=True)]
Flag = Annotated[bool, Field(strict=True)]


class _Attributes(Model):
    """What every stated bundle says, numbered or not."""

    certificate_status: StatusText
    account_id: Uuid
    bundle_quantity: Positive
    energy_carrier: Text
    energy_source: Text
    face_value: Positive = Field(description="Wh that one certificate stands for.")
    issuance_post_energy_carrier_conversion: Flag
    registry_configuration: Configuration
    device_id: Uuid
    device_name: Text
    device_technology_type: Text
    device_production_start_date: Day
    device_capacity: Whole = Field(description="W.")
    device_location: Location
    device_type: Text
    production_starting_interval: Moment
    production_ending_interval: Moment
    issuance_datestamp: Day
    expiry_datestamp: Day
    country_of_issuance: Country
    connected_grid_identification: Text
    issuing_body: Text
    issue_market_zone: Text
    legal_status: Text | None = None
    issuance_purpose: Text | None = None
    support_received: Text | None = None
    quality_scheme_reference: Text | None = None
    dissemination_level: Text | None = None
    emissions_factor_production_device: Factor | None = None
    emissions_factor_source: Text | None = None
    discharging_start_datetime: Moment | None = None
    discharging_end_datetime: Moment | None = None
    sdr_allocation_id: Uuid | None = None
    storage_device_id: Uuid | None = None
    storage_device_location: Location | None = None
    storage_efficiency_factor: Factor | None = None


class GranularCertificateBundleBase(_Attributes):
    """A bundle to issue. The device's next number must begin its range."""

    bundle_id_range_start: Whole
    bundle_id_range_end: Whole


class GranularCertificateBundleCreate(GranularCertificateBundleBase):
    """A bundle to issue; with `broadcast` false it is signed and kept until it is published."""

    broadcast: Flag = Field(True, json_schema_extra=EXTENSION)


class UnnumberedBundle(_Attributes):
    """A bundle to issue, which the registry numbers when it says no range."""

    bundle_id_range_start: Whole | None = None
    bundle_id_range_end: Whole | None = None

    @model_validator(mode="after")
    def _whole_range(self) -> UnnumberedBundle:
        if (self.bundle_id_range_start is None) is not (self.bundle_id_range_end is None):
            raise ValueError("bundle_id_range_start and bundle_id_range_end come together or not at all")
        return self


class Reading(Model):
    """What a meter counted from `start` to `end`, at most an hour."""

    start: Moment
    end: Moment
    energy_wh: Positive


class GranularCertificateCreateMany(Model):
    """Bundles to issue, all of them or none: as they are stated, or from readings of a registered device, whose
    registration gives the attributes."""

    bundles: Annotated[list[UnnumberedBundle], Field(min_length=1, max_length=MOST_BUNDLES)] | None = None
    device_id: Uuid | None = None
    readings: Annotated[list[Reading], Field(min_length=1, max_length=MOST_BUNDLES)] | None = None
    face_value: Positive | None = Field(None, description="Wh that one certificate stands for; 1 by default.")
    broadcast: Flag = True

    @model_validator(mode="after")
    def _one_form(self) -> GranularCertificateCreateMany:
        if self.bundles is None and (self.device_id is None or self.readings is None):
            raise ValueError("give bundles, or device_id and readings")
        if self.bundles is not None and (self.device_id, self.readings, self.face_value) != (None, None, None):
            raise ValueError("device_id, readings and face_value do not go together with bundles")
        return self


class GranularCertificateQuery(CertificateActionBase):
    """What bundles of an account to tell of. `limit` bundles come at most; `cursor` is that of an answer before
    this one to the same query. With `private` it is those that wait to be published, instead of the others."""

    limit: Positive | None = extension()
    cursor: Annotated[str, Field(max_length=MAX_CURSOR)] | None = extension()
    include: Annotated[list[Literal["beef"]], Field(max_length=1)] | None = extension()
    private: Flag | None = extension()


class GranularCertificatePublish(Model):
    """Publishes what an action with `broadcast` false made."""

    source_account_id: Uuid
    source_user_id: Uuid
    private_action_id: Uuid = Field(description="The id of that action.")


class ActionComplete(Model):
    """A transaction that a user's wallet has signed."""

    beef: Annotated[str, Field(min_length=4, pattern="^[A-Za-z0-9+/]+={0,2}$", description="BEEF, base64.")]

    @field_validator("beef")
    @classmethod
    def _decodes(cls, value: str) -> str:
        b64decode(value, validate=True)
        return value
