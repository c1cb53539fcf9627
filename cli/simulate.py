"""`metawatt simulate`: smart meters that sign readings and hand them in, and the tokens that come of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live

from api.solana.routes import PATH as SOLANA_PATH
from bridge.simulator.balances import Token
from bridge.simulator.books import Books
from bridge.simulator.gateway import Gateway, NotNow
from bridge.simulator.opening import opening_of, token_of
from bridge.simulator.plan import Plan
from bridge.simulator.registering import register_all
from bridge.simulator.run import WORKERS, Run
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import SolanaRpc
from cli.progress import bar
from cli.registry.connecting import TOKEN_VARIABLE
from cli.simulate_view import View, summary
from config.errors import ErrorCode, Unauthorized, Unavailable
from overlay.clock import system_now_ms

_FRAMES_A_SEC: Final = 2
_LOOK_SECS: Final = 2.0
_PATIENCE: Final = 9
"""How often a node that is not connected yet is asked again, which takes some seconds each time."""


@dataclass(frozen=True, slots=True)
class Around:
    """Where the run takes place. `rpc_url` and `mint` are found by themselves on a dev node; `wait_secs` is how
    long the tokens may take in the end."""

    data_dir: Path
    token_file: Path | None = None
    rpc_url: str | None = None
    mint: str | None = None
    wait_secs: float = 180.0


def run(plan: Plan, around: Around) -> None:
    """Simulate until all is counted, or Ctrl-C. Exit status 1 when readings could not be handed in, or tokens are
    not as they should be."""
    if not asyncio.run(_simulate(plan, around, Console(highlight=False))):
        sys.exit(1)


async def _simulate(plan: Plan, around: Around, console: Console) -> bool:
    """Whether all was handed in, and the balances are as expected or not to be had."""
    fleet = plan.fleet(system_now_ms)
    token = operator_token(around)
    gateway = Gateway(plan.url, token, endpoint=plan.endpoint, connections=2 * WORKERS)
    async with gateway, _cluster(plan, around) as rpc:
        if token is not None:
            with bar("Registering meters", console) as moved:
                await register_all(gateway, fleet, moved)
        doing = Run(
            fleet,
            gateway,
            count=plan.count,
            readings_a_call=plan.readings_a_call,
            wait_secs=around.wait_secs,
        )
        books = await _books(gateway, rpc, around, doing, sorted({meter.wallet for meter in fleet}))
        view = View(plan, doing, books)
        with Live(get_renderable=view, console=console, refresh_per_second=_FRAMES_A_SEC, transient=True):
            await _go(doing, books, view)
        console.print(summary(plan, doing, books))
        return not doing.backlog and (books is None or not books.differences)


async def _go(doing: Run, books: Books | None, view: View) -> None:
    """One Ctrl-C ends the readings, a second one the waiting for what is still to come."""
    stop, leave = asyncio.Event(), asyncio.Event()

    def interrupted() -> None:
        (leave if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    looking = asyncio.create_task(_look(books)) if books is not None else None
    try:
        await doing.go(stop, leave, view.waiting)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        if looking is not None:
            looking.cancel()


async def _look(books: Books) -> None:
    while True:
        await books.glance()
        await asyncio.sleep(_LOOK_SECS)


def operator_token(around: Around) -> str | None:
    """The token of a file that is named, of the environment, or of a node's data folder; None for none."""
    file = around.token_file
    if file is None:
        if text := os.environ.get(TOKEN_VARIABLE, "").strip():
            return text
        file = around.data_dir / "admin.token"
        if not file.exists():
            return None
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unauthorized(f"the token cannot be read: {error}") from None


@asynccontextmanager
async def _cluster(plan: Plan, around: Around) -> AsyncIterator[SolanaRpc | None]:
    """The cluster: the one that is named, else the one that a dev node has within; None for none."""
    client = ClusterClient(around.rpc_url or plan.url.rstrip("/") + SOLANA_PATH)
    try:
        yield client if await _is_there(client, around) else None
    finally:
        await client.close()


async def _is_there(client: ClusterClient, around: Around) -> bool:
    try:
        await client.genesis_hash()
    except Unavailable:
        if around.rpc_url is not None:
            raise
        return False
    return True


async def _books(
    gateway: Gateway, rpc: SolanaRpc | None, around: Around, doing: Run, wallets: list[str]
) -> Books | None:
    """None where balances cannot be had: no cluster, or no word of the mint."""
    if rpc is None:
        return None
    token = await _token(gateway, rpc, around.mint)
    if token is None:
        return None
    return Books(rpc, token, doing.tally, await opening_of(gateway, rpc, token, wallets))


async def _token(gateway: Gateway, rpc: SolanaRpc, mint: str | None) -> Token | None:
    """The token; a node that has just started is given time to connect to its cluster."""
    for _ in range(_PATIENCE):
        try:
            return await token_of(gateway, rpc, mint)
        except NotNow as error:
            if error.code is not ErrorCode.SOLANA_UNAVAILABLE:
                raise
    return await token_of(gateway, rpc, mint)
