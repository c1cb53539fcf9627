"""Documents as BSON.

A declared field that is None is left out of the stored document, so that partial indexes can be declared
by `$exists`; it is None again when read. `_revision` counts the patches of a document: each patch thereby
writes, also one that changes nothing, so that transactions that both rely on a document cannot pass each
other by (see `mongodb_statements`).

BSON orders binary values by length first: an index over `bytes` orders like SQLite's only among values of
equal length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions, TypeDecoder, TypeRegistry
from bson.errors import BSONError
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument

from config.errors import BadRequest
from store.port import Collection, Document, Key
from store.values import KEY_FIELD, checked_key, scalar

REVISION_FIELD: Final = "_revision"
MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024 - 1024


class _PlainInt(TypeDecoder):
    """64-bit integers as int, not as the driver's subclass of it."""

    bson_type = Int64

    def transform_bson(self, value: Any) -> int:
        return int(value)


CODEC: Final[CodecOptions[Document]] = CodecOptions(type_registry=TypeRegistry([_PlainInt()]))


def encoded(fields: Mapping[str, Any]) -> RawBSONDocument:
    """`fields` as BSON; BadRequest when they cannot be stored. The caller may change them afterwards."""
    for name in fields:
        if name.startswith("$") or "." in name or name == REVISION_FIELD:
            raise BadRequest(f"a field cannot be named {name}")
    try:
        blob = bson.encode(fields)
    except (BSONError, OverflowError, TypeError, UnicodeError, RecursionError) as error:
        raise BadRequest(f"a document cannot be stored: {error}") from error
    if len(blob) > MAX_DOCUMENT_BYTES:
        raise BadRequest(f"a document of {len(blob)} bytes is too large")
    return RawBSONDocument(blob)


class Codec:
    """One collection's documents."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self._declared = tuple(collection.fields.items())

    def key(self, key: Any) -> Key:
        return checked_key(self.collection, key)

    def checked(self, fields: Mapping[str, Any]) -> Document:
        """`fields` with declared ones as the plain values of their kinds."""
        kinds = self.collection.fields
        return {n: scalar(kinds[n], n, value) if n in kinds else value for n, value in fields.items()}

    def stored(self, document: Document) -> tuple[Key, RawBSONDocument]:
        """A document as it is stored, and its key."""
        key = self.key(document.get(KEY_FIELD))
        declared = self.collection.fields
        fields = {
            name: value
            for name, value in self.checked({**document, KEY_FIELD: key}).items()
            if value is not None or name not in declared
        }
        return key, encoded(fields)

    def update(self, changes: Mapping[str, Any]) -> Document:
        """The update document for a patch."""
        checked = self.checked(changes)
        unset = {name: "" for name, value in checked.items() if value is None and name in self.collection.fields}
        fields = {name: value for name, value in checked.items() if name not in unset}
        update: Document = {"$inc": {REVISION_FIELD: 1}}
        if fields:
            update["$set"] = encoded(fields)
        if unset:
            update["$unset"] = unset
        return update

    def expected(self, expect: Mapping[str, Any] | None) -> Document:
        """A filter that holds where the fields have the values of `expect`; None also where left out."""
        checked = self.checked(expect or {})
        encoded(checked)
        return {name: {"$eq": value} for name, value in checked.items()}

    def document(self, stored: Mapping[str, Any]) -> Document:
        """A stored document as it was handed in."""
        document = dict(stored)
        document.pop(REVISION_FIELD, None)
        for name, _ in self._declared:
            document.setdefault(name, None)
        return document
