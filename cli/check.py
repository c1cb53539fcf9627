"""`metawatt check`: the invariants, verified on what is stored."""

from __future__ import annotations

import asyncio
import sys

from rich.console import Console
from rich.text import Text

from bridge.audit import check_readings
from bridge.mirror.checks.mirror_check import check_mirror
from cli.progress import bar
from cli.stored import keyring_of, opened_store
from config.logging import configure_logging
from config.settings import Settings
from energytag.audit import check_registry
from energytag.records import REBUILD_STATE
from lookup.audit import check_partitions
from lookup.hosted import hosted_lookup_services
from overlay.invariants import check_invariants
from overlay.records import STATE
from store.port import Store

_MOST_SHOWN = 50


def run(settings: Settings) -> None:
    """Check, print what is wrong, and exit with 1 when anything is."""
    configure_logging(settings.log)
    console = Console(soft_wrap=True)
    faults = asyncio.run(_check(settings, console))
    for fault in faults[:_MOST_SHOWN]:
        console.print(Text(f"✗ {fault}", "red"))
    if len(faults) > _MOST_SHOWN:
        console.print(f"… and {len(faults) - _MOST_SHOWN} more")
    if faults:
        sys.exit(1)
    console.print("The storage is sound, and every invariant holds.")


async def _check(settings: Settings, console: Console) -> list[str]:
    async with opened_store(settings, hosted_lookup_services(settings)) as store:
        faults = [f"storage: {fault}" for fault in await store.check()]
        with bar("invariants", console) as move:
            faults += [*await check_invariants(store, move), *await check_partitions(store)]
        if settings.registry.enabled:
            faults += await _check_registry(settings, store)
        if settings.takes_readings:
            # energy_token's mint_generation succeeds without minting when it is asked again.
            faults += await check_readings(store, may_repeat=settings.solana.mint_mode == "generation")
        if settings.mirrors:
            faults += await check_mirror(store)
        return faults


async def _check_registry(settings: Settings, store: Store) -> list[str]:
    if await store.get(STATE, REBUILD_STATE) is not None:
        return ["registry: it was being rebuilt, and is not whole; run metawatt reindex to its end"]
    return await check_registry(store, keyring_of(settings))
