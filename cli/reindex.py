"""`metawatt reindex`: lookup indexes built anew from stored transactions, and the registry from its log, too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from api.node import node_lookup_services
from cli.progress import bar
from cli.stored import keyring_of, opened_store
from config.errors import ErrorCode, NotFound
from config.logging import configure_logging
from config.occupied import alone_in
from config.secrets import node_key_path
from config.settings import Settings
from energytag.rebuild import rebuild
from lookup.hosted import hosted_lookup_services
from overlay.lookup_service import LookupService
from overlay.reindex import Reindexer
from store.port import Store, StoreUnavailable

REGISTRY: Final = "registry"


def run(settings: Settings, service: str | None) -> None:
    """Rebuild one service's index, or the registry, or all; `NotFound` for a service that is not hosted."""
    configure_logging(settings.log)
    asyncio.run(_rebuild(settings, service))


async def _rebuild(settings: Settings, name: str | None) -> None:
    services = _hosted(settings)
    with_registry = settings.registry.enabled and name in (None, REGISTRY)
    chosen = [] if name == REGISTRY and with_registry else _chosen(services, name)
    async with opened_store(settings, services) as store:
        with alone_in(settings.node.data_dir) as is_alone:
            if not is_alone:
                raise StoreUnavailable(f"a node runs on {settings.node.data_dir}: stop it first")
            await _build(settings, store, chosen, with_registry)


async def _build(settings: Settings, store: Store, chosen: Sequence[LookupService], with_registry: bool) -> None:
    console = Console()
    keyring = keyring_of(settings) if with_registry else None
    reindexer = Reindexer(store)
    for service in chosen:
        with bar(service.name, console) as move:
            outputs = await reindexer.rebuild(service, move)
        console.print(f"{service.name}: {outputs} outputs indexed")
    if keyring is not None:
        with bar(REGISTRY, console) as move:
            certificates = await rebuild(store, keyring, move)
        console.print(f"{REGISTRY}: rebuilt from its log and {certificates} certificates")


def _hosted(settings: Settings) -> list[LookupService]:
    """The node's services; that of its bridge, which knows exits by the node's key, where the key is."""
    if settings.mirrors and node_key_path(settings).exists():
        return node_lookup_services(settings, keyring_of(settings).identity)
    return hosted_lookup_services(settings)


def _chosen(services: Sequence[LookupService], name: str | None) -> list[LookupService]:
    chosen = [service for service in services if name in (None, service.name)]
    if not chosen:
        hosted = ", ".join([*(service.name for service in services), REGISTRY])
        raise NotFound(f"there is no lookup service {name!r}; hosted: {hosted}", ErrorCode.LOOKUP_SERVICE_UNKNOWN)
    return chosen
