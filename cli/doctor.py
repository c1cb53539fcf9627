"""`metawatt doctor`: looks at all that the node needs, and says what to do."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.bridge_checks import check_bridge
from cli.chain_checks import ChainChecks
from cli.finding import Finding, Verdict, broken, ok
from cli.machine_checks import (
    check_address,
    check_admin_token,
    check_data_folder,
    check_native_module,
    check_node_key,
)
from cli.registry_checks import check_registry
from cli.solana_checks import check_solana
from cli.storage_checks import check_storage
from config.load import SettingsInvalid
from config.settings import Settings

_MARKS = {
    Verdict.OK: Text("ok", "green"),
    Verdict.WARNING: Text("look", "yellow"),
    Verdict.BROKEN: Text("BROKEN", "bold red"),
}


def run(load: Callable[[], Settings]) -> None:
    """Check everything, print it, and exit with 1 when something is broken."""
    findings = asyncio.run(examine(load, time.time))
    show(findings, Console())
    if any(finding.verdict is Verdict.BROKEN for finding in findings):
        sys.exit(1)


async def examine(load: Callable[[], Settings], now_secs: Callable[[], float]) -> list[Finding]:
    """All findings; without usable settings only what needs none."""
    native = check_native_module()
    try:
        settings = load()
    except SettingsInvalid as error:
        cure = "Mend the names and values above; docs/SETTINGS.md lists them all."
        return [broken("settings", error.message, cure), native]
    return [
        ok("settings", f"{settings.node.network} network"),
        native,
        check_data_folder(settings),
        check_node_key(settings),
        check_admin_token(settings),
        await check_storage(settings),
        *await check_registry(settings),
        *await ChainChecks(settings, now_secs).run(),
        *await check_solana(settings),
        *await check_bridge(settings),
        check_address(settings),
    ]


def show(findings: Iterable[Finding], console: Console) -> None:
    """Print the findings, the cures under what they cure."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(_MARKS[finding.verdict], finding.subject, Text(finding.seen))
        if finding.cure:
            table.add_row("", "", Text(f"→ {finding.cure}", "bold"))
    console.print(table)
