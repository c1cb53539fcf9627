"""Metering put together on a node: how Solana is reached, who signs, and what health has to say of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from api.health import Finding, HealthCheck
from api.solana.routes import PATH
from api.workers import worker_count
from bridge.metering import UNREACHED, Metering, Solana
from bridge.mirror.custody import bridge_signers
from bridge.mirror.mirror import Mirror
from bridge.programs.keys import FileSigner, Signer
from bridge.relay import Relay
from bridge.solana.client import ClusterClient
from config.errors import Unavailable
from config.settings import Settings
from energytag.registry import Registry
from overlay.clock import NowMs
from overlay.engine import Engine
from store.port import Store

KEY_FILE: Final = "solana.json"
RELAY_FOLDER: Final = "run"
_WAITING: Final = "readings are taken, and wait"


def embeds_solana(settings: Settings) -> bool:
    """Whether the node brings a cluster along."""
    return settings.node.network == "dev" and settings.solana.rpc_url is None and settings.takes_readings


def make_metering(
    settings: Settings,
    store: Store,
    now_ms: NowMs,
    own_host: str,
    port: int,
    *,
    primary: bool,
    mirror: Mirror | None = None,
) -> Metering:
    """The metering of one process; `own_host` and `port` are where an embedded cluster is reached."""
    relay = Relay(settings.node.data_dir / RELAY_FOLDER) if worker_count(settings) > 1 else None
    solana = _solana(settings, own_host, port)
    return Metering(settings, store, now_ms, solana, relay=relay, primary=primary, mirror=mirror)


def make_mirror(
    settings: Settings, store: Store, engine: Engine, registry: Registry, now_ms: NowMs, *, primary: bool
) -> Mirror:
    """The bridge of one process; it connects when metering does."""
    timeout_secs = settings.solana.request_timeout_secs
    return Mirror(
        settings,
        store,
        engine,
        registry,
        bridge_keys(settings),
        [ClusterClient(url, timeout_secs, remembered=0) for url in settings.bridge.witness_rpc_urls],
        now_ms,
        primary=primary,
        has_faucet=settings.node.network == "dev",
    )


def bridge_keys(settings: Settings) -> Sequence[Signer]:
    """The bridge's key, those of members of multisigs, and where tokens are minted for exits the minting key.
    Raises `SecretUnusable`."""
    own = bridge_signers(settings)
    if settings.bridge.mode != "burn":
        return own
    return (*own, FileSigner.load(minting_key_path(settings), make=makes_minting_key(settings)))


def minting_key_path(settings: Settings) -> Path:
    """Where the minting key is kept."""
    return settings.solana.key_file or settings.node.data_dir / KEY_FILE


def makes_minting_key(settings: Settings) -> bool:
    """Whether a minting key that is missing is made at the start."""
    return settings.node.network == "dev" and settings.solana.key_file is None


def co_signers(settings: Settings) -> tuple[FileSigner, ...]:
    """Who signs beside the minting key: the REC validator of energy_token, or further members of the multisig that
    has the node's own mint. Raises `SecretUnusable`."""
    validator = settings.solana.rec_validator_key_file
    members = settings.bridge.member_key_files if settings.solana.mint_mode == "own" else ()
    paths = members if validator is None else (validator, *members)
    return tuple(FileSigner.load(path) for path in paths)


def _solana(settings: Settings, own_host: str, port: int) -> Solana | None:
    rpc_url, ws_url = settings.solana.rpc_url, settings.solana.ws_url
    if embeds_solana(settings):
        rpc_url, ws_url = f"http://{own_host}:{port}{PATH}", f"ws://{own_host}:{port}{PATH}"
    if rpc_url is None:
        return None
    is_dev = settings.node.network == "dev"
    signer = FileSigner.load(minting_key_path(settings), make=makes_minting_key(settings))
    return Solana(
        rpc=ClusterClient(rpc_url, settings.solana.request_timeout_secs),
        ws_url=ws_url,
        signer=signer,
        co_signers=co_signers(settings),
        is_test=is_dev,
    )


class MeteringHealth:
    """What `/health` says of the meters' way to Solana."""

    def __init__(self, metering: Metering, *, is_embedded: bool) -> None:
        self._metering = metering
        self._is_embedded = is_embedded

    @property
    def checks(self) -> list[HealthCheck]:
        return [
            HealthCheck("solana", "ready", False, self._check_cluster),
            HealthCheck("minting", "ready", False, self._check_minting),
            HealthCheck("minting key", "ready", False, self._check_funds),
            HealthCheck("event processor", "ready", False, self._check_watching),
        ]

    async def _check_watching(self) -> Finding:
        problem = self._metering.watching.problem if self._metering.is_connected else None
        return Finding() if problem is None else Finding("error", problem)

    async def _check_cluster(self) -> Finding:
        solana, trouble = self._metering.solana, self._metering.trouble
        if solana is None or trouble is not None:
            return Finding("degraded", f"{_WAITING}: {trouble}")
        try:
            slot = await solana.rpc.slot("confirmed")
        except Unavailable:
            # Anybody reads this; the reason may name a server, and is in the log.
            return Finding("degraded", f"{_WAITING}: {UNREACHED}")
        return Finding(details={"slot": slot, "embedded": self._is_embedded})

    async def _check_minting(self) -> Finding:
        if not self._metering.is_connected:
            return Finding()
        found = await self._metering.minting.health.check_work()
        return Finding(found.status, found.message)

    async def _check_funds(self) -> Finding:
        if not self._metering.is_connected:
            return Finding()
        found = await self._metering.minting.health.check_funds()
        return Finding(found.status, found.message)
