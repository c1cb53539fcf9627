"""What a WebSocket client subscribed to, and the text of its notices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.cluster.rpc.account_methods import AccountFilter
from bridge.cluster.rpc.account_views import AccountFormat
from bridge.solana.rpc import Commitment

Deliver: TypeAlias = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class OfSignature:
    """Told once, when the transaction reaches the commitment; and before that when it was `received`."""

    signature: Signature
    received: bool


@dataclass(frozen=True, slots=True)
class OfLogs:
    """Logs of transactions that name an address; of all of them when it is None."""

    mentions: Pubkey | None


@dataclass(frozen=True, slots=True)
class OfAccount:
    address: Pubkey
    shown: AccountFormat


@dataclass(frozen=True, slots=True)
class OfProgram:
    program: Pubkey
    shown: AccountFormat
    filter: AccountFilter


@dataclass(frozen=True, slots=True)
class OfSlots:
    """Every slot that opens."""


@dataclass(frozen=True, slots=True)
class OfRoots:
    """Every slot that becomes final."""


Topic: TypeAlias = OfSignature | OfLogs | OfAccount | OfProgram | OfSlots | OfRoots


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """One subscription of one connection; `deliver` hands its notices to that connection."""

    number: int
    method: str
    topic: Topic
    commitment: Commitment
    deliver: Deliver

    def tell(self, result: Any) -> None:
        """Send a notice; `result` is JSON, or an `orjson.Fragment` of it."""
        self.deliver(
            orjson.dumps(
                {
                    "jsonrpc": "2.0",
                    "method": self.method,
                    "params": {"result": result, "subscription": self.number},
                }
            )
        )


def noticed(slot: int, value: Any) -> orjson.Fragment:
    """A value with its slot, written once for all who are told."""
    return orjson.Fragment(orjson.dumps({"context": {"slot": slot}, "value": value}))
