"""The event processor's bodies: what the operator asks of it, and what it answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator
from solders.signature import Signature

from bridge.meters.looking import Paged
from bridge.records import reading_id
from bridge.watching.processor import Standing
from config.errors import BadRequest
from energytag.models.common import Model, Reply, moment_of_ms
from store.port import Document

# Asked


class ReplayAsked(Model):
    """Where to begin: a slot, or the slot of a transaction."""

    from_slot: Annotated[int, Field(ge=0, lt=2**63, strict=True)] | None = None
    from_signature: Annotated[str, Field(min_length=64, max_length=88)] | None = Field(
        None, description="Base58; instead of `from_slot`."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> ReplayAsked:
        if (self.from_slot is None) == (self.from_signature is None):
            raise ValueError("either from_slot or from_signature must be given")
        return self


class SkipAsked(Model):
    """Which history to go on with over its gap."""

    address: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="The name of the address, as the status has it."
    )


class MovementsQuestion(Paged):
    """Movements, newest first."""

    kind: Annotated[str, Field(min_length=1, max_length=32)] | None = Field(
        None, description="mint, burn, transfer, unexplained or event; all when left out."
    )


# Answered


class ReplayShown(Reply):
    job_id: str
    state: str = Field(description="running, done, failed, or interrupted by a stop of the node.")
    from_slot: int
    slot: int | None = Field(description="Of the last transaction applied.")
    transactions: int = Field(description="Applied so far.")
    address: str | None = Field(description="Whose history is being applied.")
    error: str | None
    created_at: str
    ended_at: str | None


class ReplaysShown(Reply):
    replays: list[ReplayShown]


class SkippedShown(Reply):
    after_slot: int
    to_slot: int
    at: str


class AddressShown(Reply):
    """Where the processor is in an address's history."""

    name: str
    address: str
    role: str
    slot: int | None = Field(description="Of the last transaction applied.")
    signature: str | None
    lag_slots: int | None = Field(
        description="By how much the last whole look at the history is behind the cluster; null where this process "
        "has not looked."
    )
    gap: str | None = Field(description="Why the history is not read on.")
    skipped: list[SkippedShown] = Field(description="Gaps that an operator went over.")


class EventsShown(Reply):
    """How the event processor is."""

    final_slot: int
    is_listening: bool = Field(description="Whether the WebSocket is connected.")
    unexplained: int = Field(description="Transactions whose instructions do not explain their balances.")
    addresses: list[AddressShown]


class MovementShown(Reply):
    """What a final transaction did. Of mints, burns and transfers: `units` in base units; of what is unexplained:
    the change of supply and the problems; of events: what a log claims, a hint only."""

    kind: str
    slot: int
    signature: str
    block_time: int | None
    account: str
    memos: list[str]
    mint: str | None = None
    owner: str | None = None
    source: str | None = None
    destination: str | None = None
    authority: str | None = None
    units: int | None = None
    fee: int | None = None
    path: list[int] | None = Field(None, description="Outer instruction, inner one, part of a batch.")
    readings: list[str] | None = Field(None, description="Ids of the readings that it minted; empty for others'.")
    problems: list[str] | None = None
    name: str | None = None
    fields: dict[str, Any] | None = None
    depth: int | None = None
    is_truncated: bool | None = None


class MovementsShown(Reply):
    movements: list[MovementShown]
    cursor: str | None = None


def signature_of(text: str) -> Signature:
    """BadRequest when it is not base58 of 64 bytes."""
    try:
        return Signature.from_string(text)
    except ValueError:
        raise BadRequest("from_signature must be base58 of 64 bytes") from None


def replay_shown(job: Document) -> dict[str, Any]:
    shown = {name: job[name] for name in ("state", "from_slot", "slot", "transactions", "address", "error")}
    times = {"created_at": moment_of_ms(job["created_ms"]), "ended_at": _moment(job["ended_ms"])}
    return {"job_id": job["_id"], **shown, **times}


def address_shown(standing: Standing, final_slot: int) -> dict[str, Any]:
    read_slot = standing.read_slot
    return {
        "name": standing.watched.name,
        "address": str(standing.watched.address),
        "role": standing.watched.role,
        "slot": standing.slot,
        "signature": None if standing.signature is None else str(standing.signature),
        "lag_slots": None if read_slot is None else max(0, final_slot - read_slot),
        "gap": standing.gap,
        "skipped": [
            {"after_slot": each["after_slot"], "to_slot": each["to_slot"], "at": moment_of_ms(each["at_ms"])}
            for each in standing.skipped
        ],
    }


def movement_shown(row: Document) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name != "_id"}
    if "readings" in row:
        shown["readings"] = [reading_id(key) for key in row["readings"]]
    return shown


def _moment(ms: int | None) -> str | None:
    return None if ms is None else moment_of_ms(ms)
