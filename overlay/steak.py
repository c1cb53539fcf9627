"""STEAK: the reply to a submission, one entry a topic (BRC-22, `contracts` of the overlay's HTTP)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class TopicResult:
    """What a topic did: indices of outputs admitted, of inputs retained and of inputs removed.

    `failed` carries the reason when the topic could not judge; it then admitted nothing, and a later
    submission of the same transaction is judged anew by this topic.
    """

    outputs_to_admit: tuple[int, ...] = ()
    coins_to_retain: tuple[int, ...] = ()
    coins_removed: tuple[int, ...] = ()
    failed: str | None = None

    @property
    def relevant(self) -> bool:
        """Whether the topic took or gave up anything."""
        return bool(self.outputs_to_admit or self.coins_to_retain or self.coins_removed)

    def to_wire(self) -> dict[str, Any]:
        """The JSON shape that existing clients read; `error` is ours, and only there on failure."""
        wire: dict[str, Any] = {
            "outputsToAdmit": list(self.outputs_to_admit),
            "coinsToRetain": list(self.coins_to_retain),
            "coinsRemoved": list(self.coins_removed),
        }
        if self.failed is not None:
            wire["error"] = self.failed
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> TopicResult:
        return cls(
            tuple(wire["outputsToAdmit"]),
            tuple(wire["coinsToRetain"]),
            tuple(wire.get("coinsRemoved", ())),
            wire.get("error"),
        )


Steak: TypeAlias = dict[str, TopicResult]


def steak_to_wire(steak: Steak) -> dict[str, Any]:
    return {topic: result.to_wire() for topic, result in steak.items()}
