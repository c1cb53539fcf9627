"""The storage port: what the node asks of a database, and nothing else.

Called by `overlay` (transactions, outputs, spends, outbox, headers) and by lookup services (their own
records). Two drivers implement it, `store/sqlite.py` and `store/mongodb.py`, under one contract suite.

A document is a `dict` with a key under `"_id"`; its values are `None`, `bool`, `int` (64 bits signed),
`float`, `str`, `bytes`, and lists and string-keyed dicts of these. The fields that a collection declares
are typed and can be indexed; the others are carried along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from config.errors import ErrorCode, MetawattError

Key: TypeAlias = bytes | str | int
Scalar: TypeAlias = bytes | str | int | None
Document: TypeAlias = dict[str, Any]
Kind: TypeAlias = Literal["bytes", "text", "int"]


@dataclass(frozen=True, slots=True)
class Index:
    """A declared index. `partial` leaves out documents in which the first field is None."""

    name: str
    fields: tuple[str, ...]
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection, declared once. `clustered` keeps small documents inside the key's own tree.

    Collections of one `family` have bytes keys that begin alike (with a txid, say): a driver may keep these
    keys together, so that documents which are written together are found together.
    """

    name: str
    key: Kind
    fields: Mapping[str, Kind] = field(default_factory=dict)
    indexes: tuple[Index, ...] = ()
    clustered: bool = False
    family: str = ""

    def index(self, name: str) -> Index:
        """The index of that name; KeyError when none is declared."""
        for index in self.indexes:
            if index.name == name:
                return index
        raise KeyError(f"collection {self.name} declares no index {name}")


@dataclass(frozen=True, slots=True)
class Insert:
    """Add a document. A key that exists is a `Conflict`, or is left as it is when `keep` is set."""

    collection: Collection
    document: Document
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Put:
    """Add a document, or replace the one under its key."""

    collection: Collection
    document: Document


@dataclass(frozen=True, slots=True)
class Patch:
    """Set top-level fields of one document.

    When `expect` is given, each of its fields must hold that value now, else it is a `Conflict`.
    A document that does not exist is a `Conflict` when `must_exist`, else the write does nothing.
    """

    collection: Collection
    key: Key
    changes: Mapping[str, Any]
    expect: Mapping[str, Any] | None = None
    must_exist: bool = True


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove one document; nothing happens when there is none. `expect` as in `Patch`."""

    collection: Collection
    key: Key
    expect: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Absent:
    """A guard: `Conflict` when a document with this key exists."""

    collection: Collection
    key: Key


Write: TypeAlias = Insert | Put | Patch | Delete | Absent


@dataclass(frozen=True, slots=True)
class Find:
    """A walk along one declared index.

    `equals` fixes a prefix of the index's fields; `lower` (inclusive) and `upper` (exclusive) bound the
    next one; the answer is ordered by the fields that follow and then by key. `after` is the position
    that an earlier page ended at. An `index` of None walks the keys themselves, `lower` and `upper` too.
    """

    index: str | None = None
    equals: Mapping[str, Scalar] = field(default_factory=dict)
    lower: Scalar = None
    upper: Scalar = None
    descending: bool = False
    limit: int = 100
    after: tuple[Scalar, ...] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Documents in order; `last` is the position to pass as `after`, None when the walk is at its end."""

    documents: list[Document]
    last: tuple[Scalar, ...] | None


@dataclass(frozen=True, slots=True)
class Total:
    """One row of an aggregate: the group's values, how many documents, and the sum of a field."""

    group: tuple[Scalar, ...]
    count: int
    total: int


class Conflict(MetawattError):
    """A write found another document, or another value, than it required; nothing was written."""

    default_code = ErrorCode.STORAGE_CONFLICT

    def __init__(self, message: str = "", write_index: int = -1) -> None:
        super().__init__(message)
        self.write_index = write_index


class StoreTooNew(MetawattError):
    """The database was written by a newer release; start that release, or restore a backup."""

    default_code = ErrorCode.STORAGE_TOO_NEW


class StoreUnavailable(MetawattError):
    """The database does not answer."""

    default_code = ErrorCode.STORAGE_UNAVAILABLE


class Reader(Protocol):
    """The reading half of the port: what a lookup service is handed."""

    async def get(self, collection: Collection, key: Key) -> Document | None: ...

    async def get_many(self, collection: Collection, keys: Sequence[Key]) -> dict[Key, Document]:
        """The documents that exist, by key. Concurrent calls may share one trip to the database."""
        ...

    async def get_each(self, requests: Sequence[tuple[Collection, Sequence[Key]]]) -> list[dict[Key, Document]]:
        """Several `get_many` in one trip, answered in the order asked."""
        ...

    async def find(self, collection: Collection, find: Find) -> Page: ...

    async def count(self, collection: Collection, find: Find | None = None) -> int:
        """How many documents a `Find` covers (its limit and position aside); all when None."""
        ...

    async def aggregate(
        self, collection: Collection, find: Find, group_by: Sequence[str], total: str
    ) -> list[Total]:
        """Documents covered by `find` (its limit and position aside), grouped by declared fields,
        with the sum of the declared int field `total`; ordered by group."""
        ...


class Store(Reader, Protocol):
    """The port. Opened once; every method may be called from one event loop."""

    async def open(self, collections: Sequence[Collection]) -> None:
        """Connect, and create or migrate what `collections` declare, under a lock."""
        ...

    async def close(self) -> None:
        """Finish what is under way, then let go."""
        ...

    async def commit(self, writes: Sequence[Write]) -> None:
        """Apply all writes or none, in order; on return they survive kill -9 and loss of power.

        Concurrent commits share one flush (group commit). Raises `Conflict` (nothing was written, and
        the other commits of the group are not disturbed) or `StoreUnavailable`.
        """
        ...

    async def size_bytes(self) -> int:
        """What the database occupies on disk, 0 when unknown."""
        ...

    async def check(self) -> list[str]:
        """Faults found by the database's own integrity check; empty when sound."""
        ...
