"""Answers about certificates and actions, in EnergyTag's shapes; what is added is marked as an extension."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from certificates.lifecycle import Status
from energytag.actions import Kind, State
from energytag.models.certificate_actions import CertificateActionBase
from energytag.models.certificates import GranularCertificateBundleBase
from energytag.models.common import Moment, Reply, Uuid, extension

OUTPOINT_PATTERN: Final = r"^[0-9a-f]{64}\.(0|[1-9][0-9]{0,9})$"
TxId = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="Display order, hex.")]
Outpoint = Annotated[
    str, Field(pattern=OUTPOINT_PATTERN, description="Transaction id (display order), output index.")
]


class TimestampProof(Reply):
    """That a bundle's transaction is in a block, for anybody to check: `merkle_path` (BUMP, hex) leads from the
    transaction to `merkle_root`, which stands in `block_header` (80 bytes, hex), whose hash is `block_hash`."""

    status: Literal["proven", "unproven"]
    block_height: int | None = Field(None, description="Absent, like all that follows, while it is unproven.")
    block_hash: TxId | None = None
    block_time: Moment | None = None
    merkle_root: TxId | None = None
    block_header: Annotated[str, Field(pattern="^[0-9a-f]{160}$")] | None = None
    merkle_path: Annotated[str, Field(pattern="^([0-9a-f]{2})*$")] | None = None


class Numbers(Reply):
    """Certificates by their numbers, the last one included."""

    start: int
    end: int


class Selected(Numbers):
    """Which certificates of a bundle a query means."""

    quantity: int


class Withdrawn(Numbers):
    """A withdrawal notice of the issuing body on some of a bundle."""

    reason: str
    notice: Outpoint
    reissued_as: Uuid | None = None


class GranularCertificateBundle(GranularCertificateBundleBase):
    """A bundle as on chain, with its status as it stands now."""

    model_config = ConfigDict(extra="allow")

    issuance_id: Uuid
    tx_id: TxId | None = extension()
    outpoint: Outpoint | None = extension()
    issued: Numbers | None = extension(description="The numbers of the whole issuance.")
    timestamp_proof: TimestampProof | None = extension()
    beneficiary: Any = extension()
    exit: Any = extension(description="Where a locked bundle is to go.")
    note: Any = extension()
    origin: Any = extension()
    private: Any = extension(description="For the holder's eyes: BRC-78, base64.")
    withdrawn: list[Withdrawn] | None = extension()
    doubles: list[Uuid] | None = extension(description="Other issuances of the same device and interval.")
    selected: Selected | None = extension(description="When not all of the bundle is meant.")
    spent_by: TxId | None = extension(description="The transaction that spent it; it is history then.")
    action_id: Uuid | None = extension(
        description="The action that has just issued it; of a private bundle, what to publish."
    )
    beef: str | None = extension(description="The transaction with all that proves it (BEEF, BRC-62), base64.")


class ActionError(Reply):
    """Why an action was rejected."""

    code: str
    message: str


class _ActionAnswer(CertificateActionBase):
    """The filters of the call, and what came of it."""

    model_config = ConfigDict(extra="allow")

    action_response_status: Literal["accepted", "rejected"]
    action_id: Uuid | None = extension()
    action_request_datetime: Moment | None = None
    action_completed_datetime: Moment | None = None


class GranularCertificateActionResponse(_ActionAnswer):
    """The filters of the call, and what came of it. `action_state` is `received` or `pending` while it is under
    way: ask /actions for the rest."""

    action_state: State | None = extension()
    tx_ids: list[TxId] | None = extension()
    error: ActionError | None = extension()


class GranularCertificateQueryResponse(_ActionAnswer):
    """The bundles that a query asked for. `total_quantity` counts the certificates meant on this page; `cursor`
    leads to the next one, if there is one."""

    filtered_certificate_bundles: list[GranularCertificateBundle]
    total_quantity: int | None = extension()
    cursor: str | None = extension()


class IssuanceBundles(Reply):
    """What there is of one issuance, in order of its numbers."""

    issuance_id: Uuid
    bundles: list[GranularCertificateBundle]
    cursor: str | None = None


class IssuedBundle(Reply):
    """A bundle that was issued: where it stands, and its numbers."""

    issuance_id: Uuid
    outpoint: Outpoint
    bundle_id_range_start: int
    bundle_id_range_end: int


class ActionRead(Reply):
    """An action. `to_sign` is for the wallet that it waits for; `bundles` are those that it issued, when the
    process that answers has just done so."""

    action_id: Uuid
    action: Kind
    action_state: State
    action_request_datetime: Moment
    action_completed_datetime: Moment | None = None
    account_id: Uuid | None = None
    user_id: Uuid | None = None
    request: dict[str, Any] | None = Field(None, description="Told of one action alone.")
    result: dict[str, Any]
    tx_ids: list[TxId]
    error: ActionError | None = None
    to_sign: dict[str, Any] | None = None
    bundles: list[IssuedBundle] | None = None


class ActionList(Reply):
    """Actions, the latest first; `cursor` leads to the next page, if there is one."""

    actions: list[ActionRead]
    cursor: str | None = None


class LineageOutput(Reply):
    """A part of an issuance as it stood in one output."""

    outpoint: Outpoint
    bundle_id_range_start: int
    bundle_id_range_end: int
    bundle_quantity: int
    certificate_status: Status
    account_id: Uuid


class LineageStep(Reply):
    """One transaction: what it spent of the issuance and what it made. `time` is the block's when proven."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    events: list[str]
    tx_id: TxId
    time: Moment | None
    block_height: int | None
    from_: list[LineageOutput] = Field(alias="from")
    to: list[LineageOutput]
    withdrawn: list[Withdrawn] | None = None


class Lineage(Reply):
    """An issuance from its beginning: each transaction in turn, and which ranges stand where now."""

    issuance_id: Uuid
    timeline: list[LineageStep]
    now: dict[str, Any]
