"""Bodies of the calls that act on certificates that exist.

EnergyTag's own fields come first; what the registry fills in itself is accepted and not read. Fields beyond the
specification are marked `x-metawatt-extension`.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from certificates.lifecycle import Status
from energytag.models.common import EXTENSION, Model, Moment, Positive, Text, Uuid, Whole, extension, secs_of

MOST_SOURCES: Final = 32
MOST_SPARSE: Final = 1000
"""Pairs of a device and a datetime in one body."""
MOST_PARTS: Final = 1000

_STATUSES: Final = {status.value.lower(): status.value for status in Status}


def _status(value: str) -> str:
    found = _STATUSES.get(value.lower())
    if found is None:
        raise ValueError(f"must be one of {', '.join(_STATUSES.values())}")
    return found


StatusText = Annotated[
    str,
    AfterValidator(_status),
    WithJsonSchema({"type": "string", "enum": list(_STATUSES.values())}),
]
KeyHex = Annotated[str, Field(pattern="^0[23][0-9a-f]{64}$")]


class CertificateActionBase(Model):
    """Who acts, and on which bundles of the account.

    `sparse_filter_list` overrides the other criteria; a range needs an issuance; `certificate_quantity` is the
    total over all bundles found, and overrides the range.
    """

    source_account_id: Uuid
    source_user_id: Uuid
    action_id: Uuid | None = Field(None, exclude=True)
    action_request_datetime: Moment | None = Field(None, exclude=True)
    action_completed_datetime: Moment | None = Field(None, exclude=True)
    source_certificate_issuance_id: Uuid | None = None
    source_certificate_bundle_id_range_start: Whole | None = None
    source_certificate_bundle_id_range_end: Whole | None = None
    certificate_period_start: Moment | None = None
    certificate_period_end: Moment | None = None
    certificate_quantity: Positive | None = None
    certificate_status: StatusText | None = None
    device_id: Uuid | None = None
    energy_source: Annotated[list[Text], Field(min_length=1, max_length=MOST_SOURCES)] | None = None
    sparse_filter_list: Annotated[dict[Uuid, Moment], Field(min_length=1, max_length=MOST_SPARSE)] | None = None

    @model_validator(mode="after")
    def _period_fits(self) -> CertificateActionBase:
        start, end = self.certificate_period_start, self.certificate_period_end
        if start is not None and end is not None and secs_of(start) >= secs_of(end):
            raise ValueError("certificate_period_start is not before certificate_period_end")
        return self

    @model_validator(mode="after")
    def _range_fits(self) -> CertificateActionBase:
        start, end = self.source_certificate_bundle_id_range_start, self.source_certificate_bundle_id_range_end
        if self.sparse_filter_list is not None or start is end is None:
            return self
        if self.source_certificate_issuance_id is None:
            raise ValueError("a range of bundle ids needs source_certificate_issuance_id")
        if start is not None and end is not None and start > end:
            raise ValueError("source_certificate_bundle_id_range_start is above the range's end")
        return self


class GranularCertificateTransfer(CertificateActionBase):
    """Bundles to another account of the registry."""

    target_account_id: Uuid | None = None


class GranularCertificateCancellation(CertificateActionBase):
    """A retirement. `beneficiary` is an account's id or exact name, an identity key (66 hex digits), or any
    other name; by default it is the account's holder."""

    beneficiary: Text | None = None


class GranularCertificateClaim(CertificateActionBase):
    """The beneficiary's claim on cancelled bundles."""


class GranularCertificateWithdraw(CertificateActionBase):
    """The issuing body's withdrawal. `whole_issuance` withdraws the issuance named in whatever accounts it is."""

    reason: Text | None = extension()
    reissued_as: Uuid | None = extension()
    whole_issuance: bool = Field(False, json_schema_extra=EXTENSION)

    @model_validator(mode="after")
    def _issuance_named(self) -> GranularCertificateWithdraw:
        if self.whole_issuance and self.source_certificate_issuance_id is None:
            raise ValueError("whole_issuance needs source_certificate_issuance_id")
        return self


class GranularCertificateReservation(CertificateActionBase):
    """A reservation for another registry; final under registry configuration 2."""

    target_registry: Text | None = None


class GranularCertificateRelease(CertificateActionBase):
    """The end of a reservation that is not final."""


class Exit(Model):
    """Where a locked certificate is to go: the other chain's name, and an address there."""

    chain: Text
    address: Text


class GranularCertificateLock(CertificateActionBase):
    """Bundles to a bridge, which is one of the node's bridge keys; there must be a choice or only one."""

    exit: Exit
    bridge: KeyHex | None = None


class GranularCertificateUnlock(CertificateActionBase):
    """Locked bundles back to the account, by a node that is the bridge."""


class GranularCertificateSplit(CertificateActionBase):
    """Bundles into parts that stay in the account. Without `sizes` what is selected becomes a part of its own;
    with them, it is one bundle's certificates that are divided, from the start; what is left is one more part."""

    sizes: Annotated[list[Positive], Field(min_length=1, max_length=MOST_PARTS)] | None = None


class GranularCertificateUpdateMutables(CertificateActionBase):
    """New values for what may change: `account_id` and `certificate_status`, which is no filter here."""

    account_id: Uuid | None = None
