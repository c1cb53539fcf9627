"""The doctor's checks of Solana: the cluster, the mint, the minting key and its SOL, notices, and polling."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from solana.rpc.websocket_api import SolanaWsClient
from solders.hash import Hash
from solders.pubkey import Pubkey

from api.metering import co_signers, embeds_solana, makes_minting_key, minting_key_path
from bridge.connecting import CLUSTER_KEPT, PROGRAMS, Way, another, cluster_row
from bridge.minting.config import ConfigShelf, MintingConfig
from bridge.programs.keys import FileSigner
from bridge.programs.setup import mint_address
from bridge.records import CONFIG, CURSORS
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import SolanaRpc
from cli.finding import Finding, broken, ok, warning
from config.errors import MetawattError
from config.logging import mask_url
from config.settings import Settings
from store.open import open_store
from store.pages import every
from store.port import Document, Find
from store.sqlite import SqliteStore

_MAINNET: Final = Hash.from_string("5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d")
_LAMPORTS_A_SOL: Final = 10**9
_SLOW_POLL_SECS: Final = 240
"""Polled so seldom, a reading waits for two minutes in the mean, which is what raises the alarm."""
_GUIDE: Final = "docs/OPERATIONS.md"


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the database says: what it is held to (None before the first connection), when is minted, and why the
    history is not read on."""

    row: Document | None
    config: MintingConfig
    gaps: tuple[str, ...] = ()


async def check_solana(settings: Settings) -> list[Finding]:
    """What meters and minting need; one line where there is nothing to look at."""
    if not settings.takes_readings:
        return [ok("meters", "no readings are taken: no Solana cluster is set, or meters.enabled is false")]
    if settings.solana.rpc_url is None and not embeds_solana(settings):
        cure = "Set solana.rpc_url; until then readings wait."
        return [warning("Solana", "solana.rpc_url is not set: nothing is minted", cure)]
    key, signer = _check_key(settings)
    try:
        stored = await _stored(settings)
    except MetawattError as error:
        return [key, warning("minting", mask_url(error.message), "Mend the storage first.")]
    local = [key, _check_minting(settings, stored.config), *_check_history(stored)]
    if settings.solana.rpc_url is None:
        return [ok("Solana", "the embedded cluster, inside the node"), *local]
    rpc = ClusterClient(settings.solana.rpc_url, settings.solana.request_timeout_secs)
    try:
        asked = await _ClusterChecks(settings, rpc, stored.row, signer).run()
    finally:
        await rpc.close()
    return [*asked, await _check_notices(settings), *local]


# The machine and the database


def _check_key(settings: Settings) -> tuple[Finding, FileSigner | None]:
    """The minting key, and who signs with it."""
    subject, path = "minting key", minting_key_path(settings)
    if not path.exists():
        if makes_minting_key(settings):
            return ok(subject, f"{path} is made at first start"), None
        cure = (
            "Restore it, as the database belongs to it; a first one: solana-keygen new --outfile FILE, mode 0600."
        )
        return broken(subject, f"{path} is not there", cure), None
    try:
        signer = FileSigner.load(path)
        co_signers(settings)
    except MetawattError as error:
        return broken(subject, error.message, "A key is a file of solana-keygen's, with mode 0600."), None
    return ok(subject, f"{signer.public}, in {path}"), signer


async def _stored(settings: Settings) -> _Stored:
    """As the settings say where there is no database yet."""
    store = open_store(settings.storage.uri, settings.node.data_dir, settings.storage)
    if isinstance(store, SqliteStore) and not store.path.exists():
        return _Stored(None, MintingConfig.initial(settings.tokenization))
    try:
        await store.open([CONFIG, CURSORS])
        row = await store.get(CONFIG, CLUSTER_KEPT)
        config = await ConfigShelf(store, settings.tokenization).get()
        gaps = [cursor["gap"] for cursor in await every(store, CURSORS, Find()) if cursor["gap"] is not None]
        return _Stored(row, config, tuple(gaps))
    finally:
        await store.close()


def _check_minting(settings: Settings, config: MintingConfig) -> Finding:
    """Whether, when and how many at a time; what the operator switched counts more than the settings."""
    subject, told = "minting", settings.tokenization
    seen = f"auto-mint every {config.polling_interval_secs:g} s, {config.batch_size} readings at a time"
    if not config.auto_mint_enabled:
        cure = f"To go on, PUT /api/admin/meters/auto-mint-config; {_GUIDE} has the stages."
        return warning(subject, "auto-mint is switched off: only what is asked for is minted", cure)
    if config.polling_interval_secs > _SLOW_POLL_SECS:
        return warning(subject, seen, "Tokens come later than the alarm for latency allows; shorten the interval.")
    if not told.retry_enabled:
        cure = "Turn tokenization.retry_enabled on, or watch metawatt_readings_dead."
        return warning(subject, f"{seen}; what fails once waits for a person", cure)
    return ok(subject, seen)


def _check_history(stored: _Stored) -> list[Finding]:
    cure = f'{_GUIDE}, "A gap in the history", says what to do. Minting goes on meanwhile.'
    return [warning("event processor", gap, cure) for gap in stored.gaps]


# The cluster


@dataclass(frozen=True, slots=True)
class _ClusterChecks:
    """Asks a cluster. `signer` is None where the minting key cannot be used: what depends on it is left out."""

    settings: Settings
    rpc: SolanaRpc
    row: Document | None
    signer: FileSigner | None

    async def run(self) -> list[Finding]:
        try:
            genesis = await self.rpc.genesis_hash()
            found = [await self._check_cluster(genesis)]
        except MetawattError as error:
            cure = "Check solana.rpc_url, and that the cluster runs. Readings are taken meanwhile, and wait."
            return [broken("Solana", error.message, cure)]
        if self.signer is not None:
            found += [await self._check_mint(genesis, self.signer), await self._check_funds(self.signer.public)]
        return found

    async def _check_cluster(self, genesis: Hash) -> Finding:
        seen, network = f"slot {await self.rpc.slot('confirmed')}, genesis {genesis}", self.settings.node.network
        if (genesis == _MAINNET) == (network == "main"):
            return ok("Solana", seen)
        which = "Solana's mainnet" if genesis == _MAINNET else "not Solana's mainnet"
        cure = "Check solana.rpc_url and node.network: either the tokens or the certificates are worth nothing."
        return warning("Solana", f"{seen}: {which}, and the node is on the {network} network", cure)

    async def _check_mint(self, genesis: Hash, signer: FileSigner) -> Finding:
        subject = "mint"
        try:
            way = await self._way(signer)
            if way is None:
                return ok(subject, "made at first start")
            mode = await way.mode(genesis)
        except MetawattError as error:
            cure = f"Set solana.mint, solana.token_program and tokenization.decimals as the mint is; see {_GUIDE}."
            return broken(subject, error.message, cure)
        told = None if self.row is None else another(self.row, cluster_row(genesis, mode))
        if told is not None:
            return broken(subject, told, "Until then readings are taken, and nothing is minted.")
        return ok(subject, f"{mode.mint}, {self.settings.tokenization.decimals} decimals")

    async def _way(self, signer: FileSigner) -> Way | None:
        """How is minted, without a mint being made; None where it will be made."""
        solana = self.settings.solana
        if self.settings.node.network == "dev" and solana.mint_mode == "own" and solana.mint is None:
            address = mint_address(signer.public, PROGRAMS[solana.token_program])
            if (await self.rpc.accounts([address], "confirmed"))[0] is None:
                return None
            solana = solana.model_copy(update={"mint": str(address)})
        decimals = self.settings.tokenization.decimals
        return Way(self.rpc, signer, co_signers(self.settings), solana, decimals, makes_mint=False)

    async def _check_funds(self, payer: Pubkey) -> Finding:
        subject = "minting key's SOL"
        try:
            lamports = await self.rpc.balance(payer)
        except MetawattError as error:
            return broken(subject, error.message, "Look at the cluster first.")
        seen = f"{(Decimal(lamports) / _LAMPORTS_A_SOL).normalize():f} SOL"
        if self.settings.node.network == "dev":
            return ok(subject, f"{seen}; the faucet pays")
        if lamports < self.settings.solana.payer_low_lamports:
            return warning(subject, f"{seen}, below solana.payer_low_lamports", f"Send SOL to {payer}.")
        return ok(subject, seen)


async def _check_notices(settings: Settings) -> Finding:
    subject, url, timeout_secs = "notices", settings.solana.ws_url, settings.solana.request_timeout_secs
    if url is None:
        return ok(subject, "solana.ws_url is not set: polling does")
    client = SolanaWsClient(url, request_timeout=timeout_secs, open_timeout=timeout_secs, close_timeout=1)
    try:
        async with client:
            await client.slot_subscribe()
    except Exception as error:  # whatever a WebSocket may fail with; its words may tell the URL, and a key in it
        cure = "Check solana.ws_url; without notices mints are seen a few seconds later."
        return warning(subject, f"no WebSocket ({type(error).__name__})", cure)
    return ok(subject, "the WebSocket answers")
