"""`metawatt solana`: the embedded Solana cluster as a process of its own."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from rich.console import Console
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from config.load import SettingsInvalid
from config.logging import configure_logging
from config.settings import LogSettings
from overlay.clock import system_now_ms
from store.sqlite import SqliteStore

CLUSTER_FILE = "solana.db"


def run(*, host: str, port: int, data_dir: Path | None, slot_ms: int, programs: Iterable[str]) -> None:
    """Serve until SIGTERM or Ctrl-C. Without a data folder the chain is kept in a temporary one.

    `programs` are `ID=FILE`. Raises `SettingsInvalid` when one of them, the folder or the ports cannot be had.
    """
    configure_logging(LogSettings())
    loaded = dict(_program(each) for each in programs)
    if data_dir is not None:
        _make(data_dir)
        uvloop.run(_serve(host, port, data_dir, slot_ms, loaded))
        return
    with tempfile.TemporaryDirectory(prefix="metawatt-solana-") as folder:
        uvloop.run(_serve(host, port, Path(folder), slot_ms, loaded))


async def _serve(host: str, port: int, data_dir: Path, slot_ms: int, programs: dict[Pubkey, bytes]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        cluster = await _opened(stack, data_dir, slot_ms, programs)
        server = SolanaServer(cluster, host, port)
        stack.push_async_callback(server.stop)
        await _listening(server, host, port)
        _tell(server, cluster, data_dir)
        await stop.wait()


async def _opened(stack: AsyncExitStack, data_dir: Path, slot_ms: int, programs: dict[Pubkey, bytes]) -> Cluster:
    store = SqliteStore(data_dir / CLUSTER_FILE)
    cluster = Cluster(store, network="dev", slot_ms=slot_ms, now_ms=system_now_ms, programs=programs)
    await cluster.open()
    stack.push_async_callback(cluster.close)
    return cluster


def _make(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsInvalid([f"--data-dir {data_dir}: {error.strerror}"]) from error


async def _listening(server: SolanaServer, host: str, port: int) -> None:
    try:
        await server.start()
    except OSError as error:
        told = f"cannot listen on {host}:{port} and the port above it: {error.strerror or error}"
        raise SettingsInvalid([f"{told}; choose another --host or --port"]) from error


def _tell(server: SolanaServer, cluster: Cluster, data_dir: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print("Embedded Solana cluster: for development; its tokens are worth nothing")
    console.print(f"  JSON-RPC   {server.rpc_url}")
    console.print(f"  WebSocket  {server.ws_url}")
    console.print(f"  Genesis    {cluster.genesis_hash}")
    console.print(f"  Kept in    {data_dir}")


def _program(text: str) -> tuple[Pubkey, bytes]:
    name, _, file = text.partition("=")
    try:
        address, elf = Pubkey.from_string(name), Path(file).read_bytes()
    except ValueError:
        raise SettingsInvalid([f"--program {text}: {name} is no address"]) from None
    except OSError as error:
        raise SettingsInvalid([f"--program {text}: {error.strerror}"]) from error
    try:
        LiteSVM().add_program(address, elf)
    except Exception as error:  # solders does not export the class of its LiteSVMError
        raise SettingsInvalid([f"--program {text}: not a program that can be run: {error}"]) from error
    return address, elf
