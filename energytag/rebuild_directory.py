"""The directory from the log of actions: what each resolved action left behind, again."""

from __future__ import annotations

from typing import Final

from energytag.actions import Action, State
from energytag.directory import HANDLED
from energytag.draft import from_json
from energytag.records import DIRECTORY
from store.port import Delete, Put, Write

_BY_NAME: Final = {collection.name: collection for collection in DIRECTORY}


def writes_of(action: Action) -> list[Write]:
    """The writes of an action, without guards. Applied in the order of the log, to empty collections or to what
    an earlier rebuild left, they give the directory as it was. None for an action of another area, or one that
    changed nothing."""
    if action.kind not in HANDLED or action.state is not State.RESOLVED:
        return []
    documents = action.result["documents"]
    writes: list[Write] = [Put(_BY_NAME[each["collection"]], from_json(each["document"])) for each in documents]
    return writes + [Delete(_BY_NAME[each["collection"]], each["key"]) for each in action.result["removed"]]
