"""The storage opened for a command that works beside, or instead of, the node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from basket.keyring import Keyring
from bridge.mirror.records import MIRROR_COLLECTIONS
from bridge.records import BRIDGE_COLLECTIONS
from config.secrets import SecretUnusable, node_key_hex, node_key_path
from config.settings import Settings
from energytag.all_collections import COLLECTIONS as REGISTRY_COLLECTIONS
from overlay.keys import PrivateKey
from overlay.lookup_service import LookupService
from overlay.records import ENGINE_COLLECTIONS
from store.open import open_store
from store.port import Store, StoreUnavailable
from store.sqlite import SqliteStore


@asynccontextmanager
async def opened_store(settings: Settings, services: Sequence[LookupService]) -> AsyncIterator[Store]:
    """The store with the engine's collections, the services', the registry's, the meters' and the mirror's;
    `StoreUnavailable` when there is none yet."""
    store = open_store(settings.storage.uri, settings.node.data_dir, settings.storage)
    if isinstance(store, SqliteStore) and not store.path.exists():
        raise StoreUnavailable(f"there is no database at {store.path}; name its folder with --data-dir")
    collections = [*ENGINE_COLLECTIONS, *(each for service in services for each in service.collections)]
    if settings.registry.enabled:
        collections += REGISTRY_COLLECTIONS
    if settings.takes_readings:
        collections += BRIDGE_COLLECTIONS
    if settings.mirrors:
        collections += MIRROR_COLLECTIONS
    await store.open(collections)
    try:
        yield store
    finally:
        await store.close()


def keyring_of(settings: Settings) -> Keyring:
    """The node's key in its roles; `SecretUnusable` when it is not there: a new one would not be the issuer of what
    is stored."""
    path = node_key_path(settings)
    if not path.exists():
        raise SecretUnusable(f"{path}: the node's key is not there; restore it, as it belongs to the database")
    return Keyring(PrivateKey.from_hex(node_key_hex(settings).get_secret_value()))
