"""Which driver a URI names."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.errors import ErrorCode, MetawattError
from config.settings import StorageSettings
from store.mongodb import MongoStore
from store.open import open_store
from store.sqlite import SqliteStore


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        (None, Path("data/node.db")),
        ("sqlite:///other.db", Path("other.db")),
        ("sqlite:////var/lib/metawatt/node.db", Path("/var/lib/metawatt/node.db")),
        ("sqlite:///a%20folder/node.db", Path("a folder/node.db")),
    ],
)
def test_sqlite(uri: str | None, path: Path) -> None:
    store = open_store(uri, Path("data"), StorageSettings())
    assert isinstance(store, SqliteStore)
    assert store.path == path


@pytest.mark.parametrize("uri", ["mongodb://127.0.0.1:1/node?replicaSet=rs0", "mongodb+srv://db.example.org/node"])
def test_mongodb(uri: str) -> None:
    assert isinstance(open_store(uri, Path("data"), StorageSettings()), MongoStore)


@pytest.mark.parametrize(
    "uri",
    ["", "node.db", "postgres://host/node", "sqlite://node.db", "sqlite://", "mongodb://host", "mongodb://host/"],
)
def test_what_names_no_database(uri: str) -> None:
    with pytest.raises(MetawattError) as caught:
        open_store(uri, Path("data"), StorageSettings())
    assert caught.value.code is ErrorCode.SETTINGS_INVALID
