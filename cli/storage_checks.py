"""The doctor's check of the storage: can it be opened, is it sound, is it of this release or an older one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cli.finding import Finding, broken, ok
from config.errors import MetawattError
from config.logging import mask_url
from config.settings import Settings
from store.open import open_store
from store.port import Store, StoreTooNew
from store.sqlite import SqliteStore

_SUBJECT = "storage"
_OPEN_TIMEOUT_SECS = 60
_MIB = 1024**2
_MOST_FAULTS = 5


async def check_storage(settings: Settings) -> Finding:
    """Open the storage, without changing what it holds, and have it check itself."""
    try:
        store = open_store(settings.storage.uri, settings.node.data_dir, settings.storage)
    except MetawattError as error:
        return broken(_SUBJECT, error.message, "Mend storage.uri.")
    if isinstance(store, SqliteStore) and not store.path.exists():
        return ok(_SUBJECT, f"{store.path} is made at first start")
    try:
        async with asyncio.timeout(_OPEN_TIMEOUT_SECS):
            return await _examine(store, _name(settings, store))
    except StoreTooNew as error:
        return broken(_SUBJECT, error.message, "Start the release that wrote it, or restore a backup.")
    except (MetawattError, TimeoutError) as error:
        seen = mask_url(str(error) or "no answer in time")
        return broken(_SUBJECT, f"{_name(settings, store)}: {seen}", _cure(store))


async def _examine(store: Store, name: str) -> Finding:
    await store.open([])
    try:
        faults = await store.check()
        size_mib = await store.size_bytes() / _MIB
    finally:
        await store.close()
    if faults:
        told = "; ".join(faults[:_MOST_FAULTS])
        return broken(_SUBJECT, f"{name}: {told}", "Restore a backup; keep the damaged files for analysis.")
    return ok(_SUBJECT, f"{name} is sound, {size_mib:.1f} MiB")


def _name(settings: Settings, store: Store) -> str:
    if isinstance(store, SqliteStore):
        return str(Path(store.path))
    return mask_url(settings.storage.uri or "")


def _cure(store: Store) -> str:
    if isinstance(store, SqliteStore):
        return "Check that this user may read and write the file; else restore a backup."
    return "Check that MongoDB runs, and storage.uri's address, credentials and replicaSet."
