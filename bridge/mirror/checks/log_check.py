"""The log, verified from its first entry to its head: nothing was taken out, put in or changed.

    chain      entries are numbered from 1 on, each holds the hash of the one before, and is stored under its own
    edges      each step is one that there is, and begins where the message's last one ended
    head       the head names the last entry
    messages   each is in the state that the log leaves it in, and says which entries tell of it

A node may be writing meanwhile. An entry and the head that names it are one commit, so the log goes at least as far
as a head that was read before it, and no further than one that is read after it. Of messages those are looked at
that have not moved since.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson

from bridge.mirror.book import GENESIS_HASH, HEAD, Head, head_of
from bridge.mirror.records import AUDIT, MESSAGES, MIRROR
from bridge.mirror.states import EDGES, State
from store.pages import pages
from store.port import Document, Reader


@dataclass(slots=True)
class Told:
    """What the log tells of a message: the state that it is in, and the last entry about it."""

    state: State
    number: int


@dataclass(slots=True)
class LogCheck:
    """A walk through the log. `messages` is by id."""

    faults: list[str] = field(default_factory=list)
    messages: dict[bytes, Told] = field(default_factory=dict)
    head: Head = field(default_factory=lambda: Head(0, GENESIS_HASH))
    hashes: list[bytes] = field(default_factory=list)
    """Of the entries, in order."""
    furthest: int = 0
    """The last entry that a message names which has moved since."""

    def entry(self, row: Document) -> None:
        """The next entry, as it is stored."""
        number, text, digest = row["_id"], row["text"], row["hash"]
        if number != self.head.number + 1:
            self._fault(f"entry {self.head.number + 1} is missing: {number} follows")
        if sha256(text).digest() != digest:
            self._fault(f"entry {number} is stored under another hash than its own")
        self.head = self._follow(number, text, Head(number, sha256(text).digest()))
        self.hashes.append(self.head.hash)

    def has(self, number: int, digest: bytes) -> bool:
        """Whether the log has an entry of that number and hash, or does not go so far as it was walked."""
        return number > len(self.hashes) or (number > 0 and self.hashes[number - 1] == digest)

    def demand_head(self, head: Head) -> None:
        """That the last entry so far is the one that a head names."""
        if head != self.head:
            told = f"{self.head.number}, {self.head.hash.hex()}"
            self._fault(f"head is entry {head.number}, {head.hash.hex()}, and the log has entry {told} there")

    def _follow(self, number: int, text: bytes, after: Head) -> Head:
        try:
            entry = orjson.loads(text)
            told, previous, edges = entry["n"], entry["previous"], entry["edges"]
            if told != number:
                self._fault(f"entry {number} calls itself {told}")
            if previous != self.head.hash.hex():
                self._fault(f"entry {number} does not hold the hash of the one before")
            for edge in edges:
                self._edge(number, edge)
        except (ValueError, KeyError, TypeError) as error:
            self._fault(f"entry {number} cannot be read: {type(error).__name__}: {error}")
        return after

    def _edge(self, number: int, edge: dict[str, Any]) -> None:
        message, after = bytes.fromhex(edge["message"]), State(edge["to"])
        before = None if edge["from"] is None else State(edge["from"])
        told = self.messages.get(message)
        if before is not (None if told is None else told.state):
            stood = "nowhere" if told is None else told.state.value
            self._fault(f"entry {number} has message {message.hex()} leave {before}, and it was {stood}")
        elif after not in (EDGES[before] if before is not None else {State.OBSERVED}):
            self._fault(f"entry {number} has message {message.hex()} go from {before} to {after}: no such edge")
        self.messages[message] = Told(after, number)

    def message(self, row: Document) -> Iterator[str]:
        """What is wrong with a message as it is stored; of one that moved since, nothing is known but where to."""
        entries, name = row["entries"], row["_id"].hex()
        if entries and entries[-1] > self.head.number:
            self.furthest = max(self.furthest, entries[-1])
            return
        told = self.messages.get(row["_id"])
        if told is None:
            yield f"I6: the log tells nothing of message {name}"
        elif row["state"] != told.state:
            yield f"I6: message {name} is {row['state']}, and the log left it {told.state.value}"
        elif list(entries[-1:]) != [told.number]:
            yield f"I6: message {name} names entries {entries}, and entry {told.number} tells of it last"

    def _fault(self, what: str) -> None:
        self.faults.append(f"I6: the log's {what}")


async def walked(reader: Reader) -> LogCheck:
    """The log, as far as it goes by now."""
    check = LogCheck()
    before = head_of(await reader.get(MIRROR, HEAD))
    async for rows in pages(reader, AUDIT):
        for row in rows:
            check.entry(row)
            if check.head.number == before.number:
                check.demand_head(before)
    after = head_of(await reader.get(MIRROR, HEAD))
    if check.head.number < before.number or check.head.number >= after.number:
        check.demand_head(after)
    return check


async def check_log(check: LogCheck, reader: Reader) -> list[str]:
    """Faults of the log that was walked, and of messages against it, each as a sentence that begins with I6; empty
    when all holds."""
    faults, seen = list(check.faults), 0
    async for rows in pages(reader, MESSAGES):
        for row in rows:
            seen += row["_id"] in check.messages
            faults += check.message(row)
    head = head_of(await reader.get(MIRROR, HEAD))
    if head.number < check.furthest:
        faults.append(f"I6: messages name entries up to {check.furthest}, and the log's head is {head.number}")
    if seen != len(check.messages):
        faults.append(f"I6: the log tells of {len(check.messages)} messages, of which {seen} are stored")
    return faults
