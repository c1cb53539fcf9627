"""A change of the directory in the making: guarded writes, and the documents they leave behind as JSON.

An action that changes the directory keeps the whole documents that came of it in its result, so that the log of
actions alone gives the directory again (`rebuild_directory.py`).

What is deleted leaves a gravestone under its id, which is never used again: its declared fields, and with them its
place in every index, move to `was`; `deleted` tells when (epoch milliseconds).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from config.errors import BadRequest, ErrorCode
from energytag.actions import Action
from energytag.plan import Plan, Scene
from store.port import Collection, Delete, Document, Find, Insert, Key, Patch, Reader, Scalar, Write


class StillInUse(BadRequest):
    """What is to be deleted is still used."""

    default_code = ErrorCode.STILL_IN_USE


class Draft:
    """Collects what one action does. Each document is touched once."""

    def __init__(self, scene: Scene) -> None:
        self.reader = scene.reader
        self.now_ms = scene.now_ms
        self._writes: list[Write] = []
        self._documents: list[tuple[Collection, Document]] = []
        self._removed: list[tuple[Collection, Key]] = []

    def insert(self, collection: Collection, document: Document) -> None:
        """Add a document."""
        self._writes.append(Insert(collection, document))
        self._documents.append((collection, document))

    def change(self, collection: Collection, old: Document, changes: Mapping[str, Any]) -> None:
        """Set fields of a document that is still as it was read."""
        changes = {**changes, "rev": old["rev"] + 1}
        self._writes.append(Patch(collection, old["_id"], changes, expect={"rev": old["rev"]}))
        self._documents.append((collection, {**old, **changes}))

    def bury(self, collection: Collection, old: Document) -> None:
        """Leave a gravestone in a document's place."""
        was = {name: old[name] for name in collection.fields}
        self.change(collection, old, {**dict.fromkeys(collection.fields), "was": was, "deleted": self.now_ms})

    def remove(self, collection: Collection, key: Key) -> None:
        self._writes.append(Delete(collection, key))
        self._removed.append((collection, key))

    def plan(self, subject_id: str) -> Plan:
        """The plan; its result tells the `id` of what the action is about."""
        documents = [{"collection": each.name, "document": as_json(document)} for each, document in self._documents]
        removed = [{"collection": each.name, "key": key} for each, key in self._removed]
        return Plan(writes=self._writes, result={"id": subject_id, "documents": documents, "removed": removed})


Draw: TypeAlias = Callable[[Draft, Action], Awaitable[str]]
"""Draws up what an action does, and returns the id of what it is about."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """The handler of an action that changes the directory, and nothing on chain."""

    draw: Draw
    reads_holdings: bool = False

    async def plan(self, action: Action, scene: Scene) -> Plan:
        draft = Draft(scene)
        return draft.plan(await self.draw(draft, action))


def is_there(document: Document | None) -> bool:
    """Whether it exists, and is no gravestone."""
    return document is not None and document.get("deleted") is None


async def exists(reader: Reader, collection: Collection, index: str, **equals: Scalar) -> bool:
    """Whether an index has an entry with these values."""
    return bool((await reader.find(collection, Find(index, equals, limit=1))).documents)


def as_json(value: Any) -> Any:
    """A document as JSON: bytes become `{"hex": …}`."""
    match value:
        case bytes():
            return {"hex": value.hex()}
        case dict():
            return {name: as_json(each) for name, each in value.items()}
        case list():
            return [as_json(each) for each in value]
    return value


def from_json(value: Any) -> Any:
    """What `as_json` was given."""
    match value:
        case {"hex": str(digits), **others} if not others:
            return bytes.fromhex(digits)
        case dict():
            return {name: from_json(each) for name, each in value.items()}
        case list():
            return [from_json(each) for each in value]
    return value
