"""The storage opened for a command that works beside, or instead of, the node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from config.settings import Settings
from overlay.lookup_service import LookupService
from overlay.records import ENGINE_COLLECTIONS
from store.open import open_store
from store.port import Store, StoreUnavailable
from store.sqlite import SqliteStore


@asynccontextmanager
async def opened_store(settings: Settings, services: Sequence[LookupService]) -> AsyncIterator[Store]:
    """The store with the engine's and the services' collections; `StoreUnavailable` when there is none yet."""
    store = open_store(settings.storage.uri, settings.node.data_dir, settings.storage)
    if isinstance(store, SqliteStore) and not store.path.exists():
        raise StoreUnavailable(f"there is no database at {store.path}; name its folder with --data-dir")
    await store.open([*ENGINE_COLLECTIONS, *(each for service in services for each in service.collections)])
    try:
        yield store
    finally:
        await store.close()
