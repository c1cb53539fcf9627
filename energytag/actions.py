"""Actions: every call that changes the registry, as a stored object with an id and a state.

received ──→ resolved          in one transaction, or none
    │  └───→ pending ──→ resolved      in several transactions, or waiting for a wallet's signature
    └──────→ rejected, with the reason; nothing was changed
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import orjson

from config.errors import ErrorCode, MetawattError
from store.port import Document

_MILLISECOND_BYTES: Final = 6


class State(StrEnum):
    RECEIVED = "received"
    PENDING = "pending"
    RESOLVED = "resolved"
    REJECTED = "rejected"

    @property
    def is_final(self) -> bool:
        return self in (State.RESOLVED, State.REJECTED)


class Kind(StrEnum):
    """What an action does. The first twelve are EnergyTag's operations on certificates."""

    CREATE = "create"
    TRANSFER = "transfer"
    CANCEL = "cancel"
    CLAIM = "claim"
    WITHDRAW = "withdraw"
    RESERVE = "reserve"
    RECURRING_TRANSFER = "recurring_transfer"
    RECURRING_CANCEL = "recurring_cancel"
    UPDATE_MUTABLES = "update_mutables"
    CREATE_MANY = "create_many"
    PUBLISH = "publish"
    SPLIT = "split"
    LOCK = "lock"
    UNLOCK = "unlock"
    RELEASE = "release"
    IMPORT = "import"
    RECURRING_CLAIM = "recurring_claim"
    RECURRING_STOP = "recurring_stop"
    RECURRING_RUN = "recurring_run"
    MEASUREMENTS = "measurements"
    CONSUMPTION = "consumption"
    CREATE_SCR = "create_scr"
    CREATE_SDR = "create_sdr"
    WITHDRAW_SCR = "withdraw_scr"
    WITHDRAW_SDR = "withdraw_sdr"
    STORAGE_UPDATE_MUTABLES = "storage_update_mutables"
    ALLOCATE_STORAGE = "allocate_storage"
    ISSUE_SDGC = "issue_sdgc"
    ORGANISATION_CREATE = "organisation_create"
    ORGANISATION_UPDATE = "organisation_update"
    ORGANISATION_DELETE = "organisation_delete"
    USER_CREATE = "user_create"
    USER_UPDATE = "user_update"
    USER_DELETE = "user_delete"
    ACCOUNT_CREATE = "account_create"
    ACCOUNT_UPDATE = "account_update"
    ACCOUNT_DELETE = "account_delete"
    WHITELIST_UPDATE = "whitelist_update"
    DEVICE_CREATE = "device_create"
    DEVICE_UPDATE = "device_update"
    DEVICE_DELETE = "device_delete"


@dataclass(frozen=True, slots=True)
class Action:
    """One action. Times are epoch milliseconds.

    `request` is the call's body as it was accepted, JSON. `memo` is what a plan must remember to be made again
    just the same after a crash, None until it was decided. `result` says what came of it, `error` why not.
    `txids` are display hex. `account_id` is the source account, where there is one.
    """

    action_id: str
    seq: int
    kind: Kind
    request: Mapping[str, Any]
    requested_ms: int
    user_id: str | None = None
    account_id: str | None = None
    state: State = State.RECEIVED
    completed_ms: int | None = None
    memo: Mapping[str, Any] | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, str] | None = None
    txids: tuple[str, ...] = ()

    @property
    def prefix(self) -> bytes:
        """The id as 16 bytes: the beginning of its parts' keys."""
        return bytes.fromhex(self.action_id.replace("-", ""))

    @property
    def awaits_signature(self) -> bool:
        """Whether it is for a user's wallet to go on with it."""
        return self.state is State.PENDING and self.memo is not None and "prepared" in self.memo

    @property
    def is_set_aside(self) -> bool:
        """Whether it waits for an operator."""
        return self.state is State.PENDING and self.error is not None

    @property
    def is_settled(self) -> bool:
        """Whether the queue is done with it."""
        return self.state.is_final or self.awaits_signature or self.is_set_aside

    def document(self) -> Document:
        """The action as it is kept."""
        return {
            "_id": self.action_id,
            "seq": self.seq,
            "kind": self.kind.value,
            "account_id": self.account_id,
            "user_id": self.user_id,
            "requested_ms": self.requested_ms,
            "request": orjson.dumps(self.request),
            **self.progress(),
        }

    def progress(self) -> dict[str, Any]:
        """What changes of it over time."""
        return {
            "queued": None if self.is_settled else 1,
            "state": self.state.value,
            "completed_ms": self.completed_ms,
            "memo": None if self.memo is None else orjson.dumps(self.memo),
            "result": orjson.dumps(self.result),
            "error": None if self.error is None else dict(self.error),
            "txids": list(self.txids),
        }

    @classmethod
    def read(cls, document: Document) -> Action:
        return cls(
            document["_id"],
            document["seq"],
            Kind(document["kind"]),
            orjson.loads(document["request"]),
            document["requested_ms"],
            document["user_id"],
            document["account_id"],
            State(document["state"]),
            document["completed_ms"],
            None if document["memo"] is None else orjson.loads(document["memo"]),
            orjson.loads(document["result"]),
            document["error"],
            tuple(document["txids"]),
        )

    def decided(self, memo: Mapping[str, Any]) -> Action:
        return replace(self, state=State.PENDING, memo=memo)

    def resolved(self, result: Mapping[str, Any], txids: tuple[str, ...], now_ms: int) -> Action:
        return replace(self, state=State.RESOLVED, result=result, txids=(*self.txids, *txids), completed_ms=now_ms)

    def rejected(self, error: MetawattError, now_ms: int) -> Action:
        return replace(self, state=State.REJECTED, error=_reason(error), completed_ms=now_ms)

    def set_aside(self, error: MetawattError) -> Action:
        return replace(self, state=State.PENDING, error=_reason(error))

    def taken_up(self) -> Action:
        """No longer set aside."""
        return replace(self, error=None)

    def refusal(self) -> MetawattError | None:
        """The error that it was rejected with."""
        if self.error is None:
            return None
        return MetawattError(self.error["message"], ErrorCode(self.error["code"]))


def _reason(error: MetawattError) -> dict[str, str]:
    return {"code": error.code.value, "message": error.message}


def new_id(now_ms: int) -> str:
    """A UUID (version 7): ids of one time lie together."""
    return made_id(now_ms.to_bytes(_MILLISECOND_BYTES, "big") + secrets.token_bytes(10), version=7)


def made_id(raw: bytes, version: int) -> str:
    """The UUID (RFC 9562) of a version that 16 bytes give."""
    marked = bytearray(raw)
    marked[6] = marked[6] & 0x0F | version << 4
    marked[8] = marked[8] & 0x3F | 0x80
    return str(UUID(bytes=bytes(marked)))
