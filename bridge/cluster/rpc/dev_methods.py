"""Methods that no real cluster has: to move time on, to fork, to forget, and to go wrong on purpose."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from bridge.cluster.cluster import Cluster
from bridge.cluster.rpc.context import Methods
from bridge.cluster.rpc.faults import invalid
from bridge.cluster.rpc.limits import STATUSES_MOST
from bridge.cluster.rpc.params import Config, Params, signature, whole
from config.errors import BadRequest

_ADVANCE_MOST_SLOTS: Final = 1000
_DROPPED_MOST: Final = 10_000
# The fields of the fault plan by their names on the wire.
_FIELDS: Final = {
    "dropRate": "drop_rate",
    "dropNext": "drop_next",
    "lateRate": "late_rate",
    "lateMinSlots": "late_min_slots",
    "lateMaxSlots": "late_max_slots",
    "loseRate": "lose_rate",
    "loseNext": "lose_next",
    "denyRate": "deny_rate",
    "lagSlots": "lag_slots",
}
_RATES: Final = frozenset({"dropRate", "lateRate", "loseRate", "denyRate"})


class DevMethods:
    """The controls. Those of faults take `{"rate", "next", "seed", ...}` and answer as `dev_faults` does."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def advance(self, params: Params) -> int:
        """By so many slots (default 1); the tip's slot."""
        slots = 1 if params.raw(0) is None else params.required(0, _slots)
        return await self._cluster.advance(slots)

    async def fork(self, params: Params) -> dict[str, Any]:
        """By so many blocks; `{"drop": true}` or `{"drop": [signatures]}` keeps transactions from landing again."""
        depth, config = params.integer(0), params.config(1)
        asked = config.raw("drop")
        dropped: Any = bool(asked) if isinstance(asked, bool | None) else _signatures(config)
        try:
            forked = await self._cluster.fork(depth, dropped)
        except BadRequest as error:
            raise invalid(str(error)) from None
        return {
            "base": forked.base,
            "slots": forked.slots,
            "slot": forked.slot,
            "replayed": [str(each) for each in forked.replayed],
            "vanished": [str(each) for each in forked.vanished],
        }

    async def prune(self, params: Params) -> int:
        """Forget what is before a slot; the first slot that is still told of."""
        try:
            return await self._cluster.prune(params.integer(0))
        except BadRequest as error:
            raise invalid(str(error)) from None

    def drop(self, params: Params) -> dict[str, Any]:
        return self._set(params, {"rate": "dropRate", "next": "dropNext"})

    def late(self, params: Params) -> dict[str, Any]:
        return self._set(params, {"rate": "lateRate", "minSlots": "lateMinSlots", "maxSlots": "lateMaxSlots"})

    def lose_answers(self, params: Params) -> dict[str, Any]:
        return self._set(params, {"rate": "loseRate", "next": "loseNext"})

    def not_found(self, params: Params) -> dict[str, Any]:
        """Deny at a rate, and certain transactions (`signatures`) always."""
        for each in params.config(0).items("signatures", STATUSES_MOST):
            self._cluster.faults.deny(signature(each))
        return self._set(params, {"rate": "denyRate"})

    def lag(self, params: Params) -> dict[str, Any]:
        """Show everything as it was so many slots ago."""
        return self._change({"lagSlots": params.integer(0)}, None)

    def faults(self, params: Params) -> dict[str, Any]:
        """Set any of the plan's fields, all at once; without parameters just tell the plan and what it did."""
        config = params.config(0)
        if config.flag("clear"):
            self._cluster.faults.clear()
        return self._set(params, {name: name for name in _FIELDS})

    def _set(self, params: Params, names: dict[str, str]) -> dict[str, Any]:
        config = params.config(0)
        wanted = {field: config.raw(name) for name, field in names.items() if config.raw(name) is not None}
        return self._change(wanted, config.integer("seed"))

    def _change(self, wanted: dict[str, Any], seed: int | None) -> dict[str, Any]:
        for name, value in wanted.items():
            _checked(name, value)
        try:
            self._cluster.faults.set(seed=seed, **{_FIELDS[name]: value for name, value in wanted.items()})
        except BadRequest as error:
            raise invalid(str(error)) from None
        return self._told()

    def _told(self) -> dict[str, Any]:
        plan, faults = asdict(self._cluster.faults.plan), self._cluster.faults
        return {
            "plan": {name: plan[field] for name, field in _FIELDS.items()},
            "denied": [str(each) for each in sorted(faults.denied, key=bytes)[:STATUSES_MOST]],
            "counts": asdict(faults.counts),
        }

    def methods(self) -> Methods:
        return {
            "dev_advance": self.advance,
            "dev_fork": self.fork,
            "dev_prune": self.prune,
            "dev_drop": self.drop,
            "dev_late": self.late,
            "dev_loseAnswers": self.lose_answers,
            "dev_notFound": self.not_found,
            "dev_lag": self.lag,
            "dev_faults": self.faults,
        }


def _checked(name: str, value: Any) -> None:
    """The type; the bounds are the plan's own."""
    kinds = (int, float) if name in _RATES else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise invalid(f"Invalid params: {name} must be a number")


def _slots(value: Any) -> int:
    return whole(value, "slots", _ADVANCE_MOST_SLOTS)


def _signatures(config: Config) -> list[Any]:
    return [signature(each) for each in config.items("drop", _DROPPED_MOST)]
