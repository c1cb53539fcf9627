"""`metawatt parity`: whether the tokens in custody are the certificates that live, to the base unit."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from api.bridge.mirror_parity import parity_shown
from api.bridge.mirror_part import PUBLIC_BASE
from cli.stored_mirror import stored_parity
from config.errors import ErrorCode, MetawattError, Unavailable
from config.logging import configure_logging
from config.settings import Settings
from overlay.http_json import JsonService

_TIMEOUT_SECS: Final = 60.0
_LINES: Final = (
    ("custody", "in custody on Solana"),
    ("burned", "+ burned for certificates"),
    ("minted", "- minted for certificates"),
    ("tokens", "= to be mirrored"),
    ("live", "certificates that live on BSV"),
    ("in_flight_in", "+ on the way to BSV"),
    ("in_flight_out", "+ on the way to Solana"),
    ("held", "+ held"),
    ("accounted_for", "= mirrored"),
    ("difference", "difference"),
)


def run(settings: Settings, url: str | None) -> None:
    """Find out, print the figures, and exit with 1 when they do not add up. Raises `Unavailable` when a chain, or
    the node at `url`, does not tell."""
    configure_logging(settings.log)
    told = asyncio.run(_stored(settings) if url is None else asked(url))
    show(told, Console(soft_wrap=True, highlight=False))
    if not told["is_exact"]:
        sys.exit(1)


async def _stored(settings: Settings) -> dict[str, Any]:
    async with stored_parity(settings) as parity:
        return parity_shown(await parity.compute())


async def asked(url: str) -> dict[str, Any]:
    """What a running node tells."""
    node = JsonService("the node", url, {}, _TIMEOUT_SECS)
    try:
        reply = await node.ask("GET", f"{PUBLIC_BASE}/parity")
    finally:
        await node.close()
    told = reply.value if isinstance(reply.value, dict) else {}
    if reply.status != 200 or "is_exact" not in told:
        message = told.get("message", f"it answers {reply.status}, and with no figures")
        raise Unavailable(f"{url} tells nothing of parity: {message}", ErrorCode.SOLANA_UNAVAILABLE)
    return told


def show(told: Mapping[str, Any], console: Console) -> None:
    """The figures, one a line, in Wh and in base units."""
    try:
        units, whole = told["units"], told["wh"]
        width = max(len(str(units[name])) for name, _ in _LINES)
        lines = [f"{text:<32} {whole[name]:>{width}} Wh  {units[name]:>{width}} units" for name, text in _LINES]
        lines.append(f"at slot {told['slot']}, block {told['height']}, entry {told['log_entries']} of the log")
        findings = [str(each) for each in told["findings"]]
        verdict, is_exact = str(told["verdict"]), bool(told["is_exact"])
    except (KeyError, TypeError, ValueError) as error:
        raise MetawattError(f"the node's figures cannot be read: {error!r}", ErrorCode.BAD_JSON) from error
    for line in (*lines, *findings):
        console.print(Text(line))
    console.print(Text(verdict, "green" if is_exact else "bold red"))
