"""The minter's bodies: what people ask of it, and what it answers, by the names of GridTokenX's gateway."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field

from bridge.meters.registration import Base58, Serial
from bridge.meters.showing import ReadingShown, reading_shown
from bridge.minting.config import LARGEST_BATCH, LONGEST_POLL_SECS, SHORTEST_POLL_SECS
from bridge.minting.token_accounts import TokenAccount
from bridge.minting.views import MintingStatus
from bridge.records import AttemptState, ReadingState
from energytag.models.common import Model, Moment, Reply, Uuid, moment_of_ms
from store.port import Document

# Asked


class ConfigChange(Model):
    """What is left out stays as it is."""

    auto_mint_enabled: Annotated[bool, Field(strict=True)] | None = None
    polling_interval_secs: Annotated[float, Field(ge=SHORTEST_POLL_SECS, le=LONGEST_POLL_SECS)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=LARGEST_BATCH, strict=True)] | None = None


class ReadingAsked(Model):
    reading_id: Uuid


class WalletAsked(Model):
    wallet: Base58


class BackfillAsked(Model):
    """Readings whose intervals begin from `from` until before `to`; of one meter or one wallet, or all."""

    from_: Moment = Field(alias="from")
    to: Moment
    meter: Serial | None = Field(None, description="Only this meter's, by its serial.")
    wallet: Base58 | None = Field(None, description="Only those of this wallet.")


# Answered


class ConfigShown(Reply):
    auto_mint_enabled: bool
    polling_interval_secs: float
    batch_size: int


class PollShown(Reply):
    """What a poll did."""

    readings: int = Field(description="Signed for.")
    transactions: int = Field(description="With these readings, sent.")
    found: int = Field(description="Found minted already.")
    waiting: int = Field(description="Still due.")
    is_finished: bool = Field(description="False when it takes longer than this answer may.")


class WaitingReading(ReadingShown):
    """A reading that is not minted."""

    next_attempt_at: str | None = Field(description="When it is due; null while it is on its way, or waits.")


class WaitingShown(Reply):
    readings: list[WaitingReading]
    cursor: str | None = None


class StatusShown(Reply):
    """Where a reading is."""

    reading_id: str
    state: ReadingState
    minted: bool
    units: int = Field(description="Base units of the token.")
    transaction_signature: str | None = Field(description="Of the transaction that minted it, or may yet.")
    transaction_state: AttemptState | None
    attempts: int = Field(description="Failures so far.")
    error_message: str | None
    submitted_at: str
    next_attempt_at: str | None
    minted_at: str | None
    slot: int | None


class JobShown(Reply):
    job_id: str
    state: str = Field(description="running or done.")
    created_at: str
    ended_at: str | None
    examined: int = Field(description="Readings looked at so far.")
    made_due: int = Field(description="Of these made due.")


class JobStarted(Reply):
    job_id: str


class TokenAccountShown(Reply):
    wallet: str
    token_account: str
    transaction_signature: str | None = Field(description="Null where it was there before.")


def waiting_shown(row: Document) -> dict[str, Any]:
    return reading_shown(row) | {"next_attempt_at": _due_at(row["due_ms"], row["submitted_ms"])}


def status_shown(status: MintingStatus) -> dict[str, Any]:
    return {
        "reading_id": status.reading_id,
        "state": status.state,
        "minted": status.state is ReadingState.MINTED,
        "units": status.units,
        "transaction_signature": status.signature,
        "transaction_state": status.attempt,
        "attempts": status.failures,
        "error_message": status.error,
        "submitted_at": moment_of_ms(status.submitted_ms),
        "next_attempt_at": _due_at(status.due_ms, status.submitted_ms),
        "minted_at": _moment(status.minted_ms),
        "slot": status.slot,
    }


def job_shown(job: Document) -> dict[str, Any]:
    return {
        "job_id": job["_id"],
        "state": job["state"],
        "created_at": moment_of_ms(job["created_ms"]),
        "ended_at": _moment(job["ended_ms"]),
        "examined": job["examined"],
        "made_due": job["made_due"],
    }


def account_shown(wallet: str, account: TokenAccount) -> dict[str, Any]:
    signature = None if account.signature is None else str(account.signature)
    return {"wallet": wallet, "token_account": str(account.address), "transaction_signature": signature}


def plain(value: Any) -> dict[str, Any]:
    """A value object as JSON."""
    return asdict(value)


def _moment(ms: int | None) -> str | None:
    return None if ms is None else moment_of_ms(ms)


def _due_at(due_ms: int | None, submitted_ms: int) -> str | None:
    """One that a person asked for has been due since it came."""
    return None if due_ms is None else moment_of_ms(max(due_ms, submitted_ms))
