"""Readings again from the action log: what `metawatt reindex` puts into an empty collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from energytag import consumption, measurements
from energytag.actions import Action, Kind, State
from energytag.readings import rebuilt
from store.port import Write

HANDLED: Final = frozenset({Kind.MEASUREMENTS, Kind.CONSUMPTION})


def writes_of(action: Action) -> Sequence[Write]:
    """The readings that an action has brought, none when it was rejected or is of another kind. Actions must
    come in their order, so that a repeated reading stays that of the first."""
    if action.state is not State.RESOLVED:
        return ()
    match action.kind:
        case Kind.MEASUREMENTS:
            series = measurements.series_of(action.request, action.result["devices"])
            return rebuilt(measurements.MEASUREMENTS, series, action.action_id)
        case Kind.CONSUMPTION:
            return rebuilt(consumption.CONSUMPTION, consumption.series_of(action.request), action.action_id)
        case _:
            return ()
