"""What every group of methods uses: the cluster, the slot that an answer speaks of, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from bridge.cluster.cluster import Cluster
from bridge.cluster.rpc.faults import RpcCode, RpcFault, invalid
from bridge.cluster.rpc.params import Config, Params
from bridge.solana.rpc import Commitment

Method: TypeAlias = Callable[[Params], Any]
"""A method of the interface: a result of JSON, or a coroutine of one. It raises `RpcFault`."""
Methods: TypeAlias = dict[str, Method]

API_VERSION: Final = "2.3.0"
FEATURE_SET: Final = 0


def settled(config: Config, method: str) -> Commitment:
    """The commitment, of a method that tells of blocks: those are not told of before they are confirmed."""
    commitment = config.commitment
    if commitment == "processed":
        raise invalid(f"{method}: Method does not support commitment below `confirmed`")
    return commitment


class Context:
    """Answers that name the slot they are true for."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def at(self, commitment: Commitment, config: Config | None = None) -> int:
        """The slot of a commitment. `RpcFault` when the client wants a later one (`minContextSlot`)."""
        slot = self.cluster.slot(commitment)
        least = None if config is None else config.min_context_slot
        if least is not None and slot < least:
            message = "Minimum context slot has not been reached"
            raise RpcFault(RpcCode.MIN_CONTEXT_SLOT, message, {"contextSlot": slot})
        return slot

    def answer(self, slot: int, value: Any) -> dict[str, Any]:
        """A value with its slot."""
        return {"context": {"slot": slot, "apiVersion": API_VERSION}, "value": value}
