"""Which driver a storage URI names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from config.errors import ErrorCode, MetawattError
from config.settings import StorageSettings
from store.port import Store
from store.sqlite import SqliteStore

DEFAULT_FILE = "node.db"


class StorageUriInvalid(MetawattError):
    """The storage URI names no database."""

    default_code = ErrorCode.SETTINGS_INVALID


def open_store(uri: str | None, data_dir: Path, settings: StorageSettings) -> Store:
    """The store that `uri` names, not yet opened: `sqlite:///PATH`, `mongodb://…/NAME` or
    `mongodb+srv://…/NAME`; SQLite in `data_dir` when None. Raises StorageUriInvalid."""
    if uri is None:
        return _sqlite(data_dir / DEFAULT_FILE, settings)
    scheme = urlsplit(uri).scheme
    if scheme == "sqlite":
        return _sqlite(_sqlite_path(uri), settings)
    if scheme in ("mongodb", "mongodb+srv"):
        return _mongodb(uri, settings)
    raise StorageUriInvalid(f"storage.uri must be sqlite:///PATH or mongodb://HOST/NAME, not {scheme or uri!r}")


def _sqlite(path: Path, settings: StorageSettings) -> Store:
    return SqliteStore(path, cache_mib=settings.sqlite_cache_mib, flush_max_writes=settings.flush_max_writes)


def _mongodb(uri: str, settings: StorageSettings) -> Store:
    # The driver takes long to load, and most nodes have no use for it.
    from store.mongodb import MongoStore  # noqa: PLC0415

    return MongoStore(
        uri,
        _database_name(uri),
        timeout_secs=settings.mongodb_timeout_secs,
        flush_max_writes=settings.flush_max_writes,
    )


def _sqlite_path(uri: str) -> Path:
    parts = urlsplit(uri)
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or not path:
        raise StorageUriInvalid(
            "a SQLite URI has three slashes and a path: sqlite:///node.db, sqlite:////var/node.db"
        )
    return Path(path)


def _database_name(uri: str) -> str:
    name = unquote(urlsplit(uri).path.removeprefix("/"))
    if not name:
        raise StorageUriInvalid("a MongoDB URI must end in the name of a database: mongodb://HOST/NAME")
    return name
