"""`metawatt demo`: a node on chains of its own, the play, and lines to try."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import aiohttp
import uvloop
from rich.console import Console
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Finalized

from api.server import Server
from api.solana.routes import PATH as SOLANA_PATH
from cli.play.client import NodeClient
from cli.play.metering import MeterStory, Tokens
from cli.play.mirroring import MirrorStory, Receipts
from cli.play.party import Party
from cli.play.stage import Stage
from cli.play.story import Story
from cli.serve import address_told, make_node, occupying_told
from config.logging import configure_logging
from config.secrets import admin_token, node_key_hex
from config.settings import LogSettings, NodeSettings, Settings, SolanaSettings, TokenizationSettings
from overlay.headers_client import HeadersServiceClient
from overlay.keys import PrivateKey

_REQUEST_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
_HOST: Final = "127.0.0.1"
_SLOT_MS: Final = 50


def run(port: int, once: bool, data_dir: Path | None) -> None:
    """Play, then stay up until Ctrl-C unless `once`. Raises `PlayFailed` when it does not go as told, and
    SystemExit when it is told to stop before the end; nothing is left behind then either."""
    with ExitStack() as stack:
        folder = data_dir or Path(stack.enter_context(TemporaryDirectory(prefix="metawatt-demo-")))
        settings = Settings(
            node=NodeSettings(network="dev", host=_HOST, port=port, data_dir=folder, name="demo"),
            # Nobody should have to wait: a mint is final after 31 slots, 12 seconds at Solana's own pace.
            tokenization=TokenizationSettings(polling_interval_secs=1),
            solana=SolanaSettings(embedded_slot_ms=_SLOT_MS),
            log=LogSettings(level="warning"),
        )
        configure_logging(settings.log)
        try:
            uvloop.run(_perform(settings, once))
        except asyncio.CancelledError:
            raise SystemExit(128 + signal.SIGTERM) from None


async def _perform(settings: Settings, once: bool) -> None:
    stage = Stage(Console(highlight=False))
    playing = asyncio.current_task()
    assert playing is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    server = Server(make_node(settings))
    with occupying_told(settings):
        try:
            with address_told(settings):
                await server.start()
            base_url = f"http://{_HOST}:{server.port}"
            stage.say(f"A METAWATT node runs at {base_url}, with embedded chains, all in {settings.node.data_dir}.")
            tokens, receipts = await _play(settings, base_url, stage)
            if not once:
                await _stay(settings, base_url, stage, tokens, receipts)
        finally:
            await server.stop()


async def _play(settings: Settings, base_url: str, stage: Stage) -> tuple[Tokens, Receipts]:
    # On the dev network the node's own key is a trusted issuing body.
    issuer = Party("The issuing body", PrivateKey.from_hex(node_key_hex(settings).get_secret_value()))
    midnight = datetime.fromtimestamp(time.time(), UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    async with aiohttp.ClientSession(timeout=_REQUEST_TIMEOUT) as session:
        client = NodeClient(session, base_url)
        headers = HeadersServiceClient(f"{base_url}/dev/headers", session=session)
        await Story(client, headers, stage, issuer, midnight - timedelta(days=1)).play()
        operator = admin_token(settings).get_secret_value()
        async with AsyncClient(base_url + SOLANA_PATH, Finalized) as solana:
            tokens = await MeterStory(client, solana, stage, operator, time.time()).play()
            crossing = MirrorStory(
                session, client, headers, solana, stage, operator, settings.node.data_dir, time.time()
            )
            return tokens, await crossing.play()


async def _stay(settings: Settings, base_url: str, stage: Stage, tokens: Tokens, receipts: Receipts) -> None:
    stage.act("Your turn: the node stays up until Ctrl-C")
    stage.lines(_lines_to_try(base_url, settings.node.data_dir, tokens, receipts))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def _command() -> str:
    """This program, as it can be called from where the reader is."""
    program = Path(sys.executable).with_name("metawatt")
    with suppress(ValueError):
        return str(program.relative_to(Path.cwd()))
    return str(program)


def _lines_to_try(base_url: str, folder: Path, tokens: Tokens, receipts: Receipts) -> list[str]:
    asking = f"curl -s {base_url}/lookup -H 'Content-Type: application/json' -d"
    operator = f'-H "Authorization: Bearer $(cat {folder}/admin.token)"'
    balance = f'{{"jsonrpc":"2.0","id":1,"method":"getTokenAccountBalance","params":["{tokens.account}"]}}'
    return [
        f"curl -s {base_url}/health",
        f"curl -s {base_url}/listTopicManagers",
        asking + """ '{"service":"ls_metawatt","query":{"energy_source":"wind","country":"DK","limit":2}}'""",
        asking + """ '{"service":"ls_metawatt","query":{"aggregate":{"by":["country","status"]}}}'""",
        f"curl -s {base_url}/dev/mine -H 'Content-Type: application/json' -d '{{\"blocks\":1}}'",
        f"curl -s {base_url}/api/meters/readings/{tokens.reading_id} {operator}",
        f"curl -s {base_url}{SOLANA_PATH} -H 'Content-Type: application/json' -d '{balance}'",
        f"curl -s {base_url}/admin/stats {operator}",
        f"curl -s {base_url}/api/bridge/parity",
        f"{_command()} audit {' '.join(map(str, receipts.paths))} --headers {receipts.headers}",
        f"{base_url}/bridge in a browser",
    ]
