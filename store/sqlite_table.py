"""How a collection lies in SQLite: its table, and documents as rows.

A row is the key, the declared fields as typed columns, and the other fields as msgpack in `_doc`
(NULL when there are none). Small documents are `clustered` in the key's own tree (WITHOUT ROWID); others
are appended by rowid, so that an insert under a random key touches one small tree besides the indexes: see
`sqlite_keys`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from config.errors import BadRequest
from store.port import Collection, Document, Index, Key, Kind, Scalar
from store.sqlite_keys import Keys, OwnKeys, SharedKeys, quoted
from store.values import KEY_FIELD, checked_key, scalar

DOC_COLUMN: Final = "_doc"
COLUMN_TYPES: Final[Mapping[Kind, str]] = {"bytes": "BLOB", "text": "TEXT", "int": "INTEGER"}

_MOST_SHAPES: Final = 1024

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


def encoded_rest(rest: Mapping[str, Any]) -> bytes | None:
    """Undeclared fields as msgpack, None when there are none; BadRequest when they cannot be."""
    if not rest:
        return None
    try:
        return _encode(rest)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest(f"a document cannot be stored: {error}") from error


def decoded_rest(blob: bytes | None) -> Document:
    """The undeclared fields that `encoded_rest` wrote."""
    return {} if blob is None else _decode(blob)


class Table:
    """One collection's table. `found` are columns of the file that this release does not declare; `number`
    is the collection's in its family."""

    def __init__(self, collection: Collection, found: Mapping[str, Kind] | None = None, number: int = 0) -> None:
        self.collection = collection
        self.found = {name: kind for name, kind in (found or {}).items() if name not in collection.fields}
        self.kinds: dict[str, Kind] = {**collection.fields, **self.found}
        self.fields = tuple(self.kinds)
        self.columns = (KEY_FIELD, *self.fields, DOC_COLUMN)
        self.name = quoted(collection.name)
        self.column_list = ", ".join(quoted(name) for name in self.columns)
        self.keys: Keys = (
            SharedKeys(collection, number)
            if collection.family
            else OwnKeys(collection, is_clustered=self.is_clustered)
        )
        self._named = (KEY_FIELD, *self.fields)
        self._declared = frozenset(self._named)
        self._shapes: set[tuple[type, ...]] = set()

    @property
    def is_clustered(self) -> bool:
        """Whether the rows lie in the key's own tree (an int key is the rowid itself)."""
        return self.collection.clustered or self.collection.key == "int"

    @property
    def place(self) -> str:
        """The column that the rows lie in the order of."""
        return quoted(KEY_FIELD) if self.is_clustered else "rowid"

    @property
    def has_whole_index(self) -> bool:
        """Whether some declared index has an entry for every document."""
        return not all(index.partial for index in self.collection.indexes)

    def key(self, key: Any) -> Key:
        return checked_key(self.collection, key)

    def value(self, name: str, value: Any) -> Scalar:
        """`value` for the column `name`."""
        return scalar(self.kinds[name], name, value)

    def row(self, document: Document) -> tuple[Any, ...]:
        """A document as a row, in the order of `columns`.

        Types are checked here, a whole row at a time; values of the right type that SQLite cannot hold are
        for it to refuse (`sqlite_group`).
        """
        values = tuple(map(document.get, self._named))
        shape = tuple(map(type, values))
        if shape not in self._shapes:
            values = self._checked(values, shape)
        declared = self._declared
        rest = {name: value for name, value in document.items() if name not in declared}
        return (*values, encoded_rest(rest))

    def _checked(self, values: Sequence[Any], shape: tuple[type, ...]) -> tuple[Any, ...]:
        """A key and declared fields, each as its kind; BadRequest when one cannot be. Remembers the types of
        values that are right as they are."""
        key = checked_key(self.collection, values[0])
        plain = (key, *map(self.value, self.fields, values[1:]))
        if tuple(map(type, plain)) == shape and len(self._shapes) < _MOST_SHAPES:
            self._shapes.add(shape)
        return plain

    def document(self, row: tuple[Any, ...]) -> Document:
        """A row, in the order of `columns`, as a document. Declared fields are always there."""
        document: Document = dict(zip(self._named, row, strict=False))
        for name in self.found:
            if document[name] is None:
                del document[name]
        if row[-1] is not None:
            document.update(_decode(row[-1]))
        return document

    def create_sql(self) -> list[str]:
        """Statements that make the table and what its keys are looked up in."""
        key_type = COLUMN_TYPES[self.collection.key]
        columns = [f"{quoted(KEY_FIELD)} {key_type} NOT NULL" + (" PRIMARY KEY" if self.is_clustered else "")]
        columns += [f"{quoted(name)} {COLUMN_TYPES[kind]}" for name, kind in self.kinds.items()]
        columns.append(f"{quoted(DOC_COLUMN)} BLOB")
        tail = " WITHOUT ROWID" if self.is_clustered and self.collection.key != "int" else ""
        statements = [f"CREATE TABLE IF NOT EXISTS {self.name} ({', '.join(columns)}){tail}"]
        return [*statements, *self.keys.create_sql()]

    def index_name(self, index: Index) -> str:
        return f"{self.collection.name}.{index.name}"

    def index_sql(self, index: Index) -> str:
        """The statement that makes a declared index; the key is its last field, as the tiebreak."""
        fields = ", ".join(quoted(name) for name in (*index.fields, KEY_FIELD))
        partial = f" WHERE {quoted(index.fields[0])} IS NOT NULL" if index.partial else ""
        return f"CREATE INDEX {quoted(self.index_name(index))} ON {self.name} ({fields}){partial}"

    def walked(self, index: str | None) -> str:
        """The FROM clause that pins a walk to its index, that of the keys for None."""
        if index is None:
            return self.keys.source
        return f"{self.name} INDEXED BY {quoted(self.index_name(self.collection.index(index)))}"
