"""`metawatt check`: the invariants, verified on what is stored."""

from __future__ import annotations

import asyncio
import sys

from overlay.invariants import check_invariants
from rich.console import Console
from rich.text import Text

from cli.stored import opened_store
from config.logging import configure_logging
from config.settings import Settings
from lookup.hosted import hosted_lookup_services

_MOST_SHOWN = 50


def run(settings: Settings) -> None:
    """Check, print what is wrong, and exit with 1 when anything is."""
    configure_logging(settings.log)
    faults = asyncio.run(_check(settings))
    console = Console(soft_wrap=True)
    for fault in faults[:_MOST_SHOWN]:
        console.print(Text(f"✗ {fault}", "red"))
    if len(faults) > _MOST_SHOWN:
        console.print(f"… and {len(faults) - _MOST_SHOWN} more")
    if faults:
        sys.exit(1)
    console.print("The storage is sound, and every invariant holds.")


async def _check(settings: Settings) -> list[str]:
    async with opened_store(settings, hosted_lookup_services(settings)) as store:
        return [*[f"storage: {fault}" for fault in await store.check()], *await check_invariants(store)]
