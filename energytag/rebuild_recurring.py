"""Recurring actions again from the action log."""

from __future__ import annotations

from collections.abc import Iterable

from energytag.actions import Action, Kind, State
from energytag.recurring import ACTIVE, RECURRING, SERIES, STOPPED, after, record
from store.port import Document, Put, Write


class Series:
    """The series as the actions have left them, which must come in their order."""

    def __init__(self) -> None:
        self._documents: dict[str, Document] = {}

    def take(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if action.kind in SERIES and action.state is State.RESOLVED:
                series = SERIES[action.kind]
                self._documents[action.action_id] = record(action, series, series.schedule(action.request))
            elif action.kind is Kind.RECURRING_RUN:
                self._run(action)
            elif action.kind is Kind.RECURRING_STOP and action.state is State.RESOLVED:
                self._documents[action.request["recurring_id"]].update(state=STOPPED, next_ms=None)

    def _run(self, action: Action) -> None:
        """An occurrence has moved its series on, whatever became of it; one that a stop came before has not
        made it active again."""
        document, changes = self._documents[action.request["recurring_id"]], after(action.request)
        if document["state"] != ACTIVE:
            changes = {"occurrence": changes["occurrence"]}
        document.update(changes)

    def writes(self) -> list[Write]:
        return [Put(RECURRING, document) for document in self._documents.values()]
