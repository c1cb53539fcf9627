"""The mirror's books of a node that does not run, as parity asks for them: its database, and Solana.

On the dev network the node brings its cluster along, and so does this: from the node's own folder, at rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from solders.hash import Hash
from solders.pubkey import Pubkey

from api.metering import embeds_solana
from api.node import SOLANA_FILE
from api.solana.server import SolanaServer
from basket.treasury import EmbeddedTreasury
from bridge.cluster.cluster import Cluster
from bridge.connecting import CLUSTER_KEPT, PROGRAMS
from bridge.minting.lease import TERM_MS, StoredLease
from bridge.mirror.book import Book
from bridge.mirror.custody import KEPT
from bridge.mirror.ground import Asset, MirrorGround
from bridge.mirror.mirror import LEASE
from bridge.mirror.parity.parity import Parity
from bridge.records import CONFIG, LEASES
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import SolanaRpc
from cli.stored import keyring_of, opened_store
from config.errors import ErrorCode, MetawattError
from config.settings import Settings
from energytag.ground import RegistryGround
from energytag.registry import Registry
from lookup.hosted import hosted_lookup_services
from overlay.clock import system_now_ms
from overlay.engine import Engine
from overlay.headers import HeaderChain
from overlay.headers_client import HeadersServiceClient
from overlay.verifier import Verifier
from store.port import Store
from store.sqlite import SqliteStore
from topics.hosted import policy_of

_CONNECT_SECS: Final = 2.0
_LEASED_MS: Final = 2 * TERM_MS
"""A term that ends later is of a clock that was wrong."""


class NothingMirrored(MetawattError):
    """There are no books of a bridge to be read: none was connected, or a node has them open."""

    default_code = ErrorCode.SETTINGS_INVALID


@asynccontextmanager
async def stored_parity(settings: Settings) -> AsyncIterator[Parity]:
    """Parity over what is stored, and what Solana says now. Raises `NothingMirrored`, `StoreUnavailable`, and
    `Unavailable` where the cluster does not answer."""
    if not settings.mirrors:
        raise NothingMirrored("the node is no bridge: bridge.enabled, or its parts, are switched off")
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(opened_store(settings, hosted_lookup_services(settings)))
        rpc = await _cluster(settings, store, stack)
        yield Parity(await _ground(settings, store, rpc, await _asset(settings, store, rpc)))


async def _cluster(settings: Settings, store: Store, stack: AsyncExitStack) -> SolanaRpc:
    rpc_url = settings.solana.rpc_url
    if embeds_solana(settings):
        await _demand_stopped(settings, store)
        own = SqliteStore(settings.node.data_dir / SOLANA_FILE)
        cluster = Cluster(own, network=settings.node.network, slot_ms=0, now_ms=system_now_ms)
        await cluster.open()
        stack.push_async_callback(cluster.close)
        server = SolanaServer(cluster, "127.0.0.1", 0)
        await server.start()
        stack.push_async_callback(server.stop)
        rpc_url = server.rpc_url
    if rpc_url is None:
        raise NothingMirrored("the settings name no cluster: set solana.rpc_url")
    client = ClusterClient(rpc_url, settings.solana.request_timeout_secs)
    stack.push_async_callback(client.close)
    return client


async def _demand_stopped(settings: Settings, store: Store) -> None:
    """The folder of a cluster that runs is not to be opened a second time. The node may listen at another port than
    the settings here say: so its lease is asked, too."""
    row = await store.get(LEASES, LEASE)
    if row is not None and 0 < row["until_ms"] - system_now_ms() <= _LEASED_MS:
        raise NothingMirrored(
            "a node has this folder open, with its cluster in it: ask it, with --url, or stop it; "
            f"one that was killed is gone after {TERM_MS // 1000} seconds"
        )
    host, port = settings.node.host, settings.node.port
    try:
        async with asyncio.timeout(_CONNECT_SECS):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return
    writer.close()
    raise NothingMirrored(f"a node runs at {host}:{port}, with its cluster in it: ask it, with --url, or stop it")


async def _asset(settings: Settings, store: Store, rpc: SolanaRpc) -> Asset:
    """What the database was made with. Who may mint is nothing to parity."""
    rows: dict[Any, Any] = dict(await store.get_many(CONFIG, [CLUSTER_KEPT, KEPT]))
    cluster, custody = rows.get(CLUSTER_KEPT), rows.get(KEPT)
    if cluster is None or custody is None:
        raise NothingMirrored("nothing was mirrored yet: the bridge was never connected to Solana")
    genesis = Hash.from_string(cluster["genesis"])
    if await rpc.genesis_hash() != genesis:
        raise NothingMirrored(f"the database belongs to cluster {genesis}: set solana.rpc_url back")
    return Asset(
        genesis=genesis,
        mint=Pubkey.from_string(cluster["mint"]),
        token_program=PROGRAMS[settings.solana.token_program],
        decimals=settings.tokenization.decimals,
        owner=Pubkey.from_string(custody["owner"]),
        custody=Pubkey.from_string(custody["custody"]),
        mode=settings.bridge.mode,
        mint_authority=Pubkey.default(),
    )


async def _ground(settings: Settings, store: Store, rpc: SolanaRpc, asset: Asset) -> MirrorGround:
    """Everything as it lies there: nothing is begun, and the service for headers is not asked."""
    keyring = keyring_of(settings)
    headers = HeaderChain(store, HeadersServiceClient(settings.chain.headers_url or ""))
    await headers.open()
    verifier = Verifier(headers)
    engine = Engine(store, headers, verifier, (), ())
    treasury = EmbeddedTreasury(store, engine, headers, verifier, keyring, settings.wallet, system_now_ms)
    policy = policy_of(settings, keyring.identity)
    ground = RegistryGround(store, engine, headers, keyring, policy, settings, system_now_ms)
    return MirrorGround(
        store=store,
        book=Book(store, StoredLease(store, system_now_ms, name=LEASE), system_now_ms),
        settings=settings,
        now_ms=system_now_ms,
        engine=engine,
        registry=Registry(ground, treasury, lambda _: (), primary=False),
        rpc=rpc,
        witnesses=(),
        asset=asset,
        signers=(),
        bsv_genesis=headers.hash_at(0) or bytes(32),
    )
