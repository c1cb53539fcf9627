"""The composition root: settings become a node. Nothing is decided here, only put together.

    store ─ headers ─ verifier ─┐
    topics, lookup services ────┤→ engine ─→ background work (chain, outbox, proofs)
    ARC, headers service ───────┘

On the dev network the node talks to its embedded dev chain through its own HTTP port, with the same clients
as to a real network's services: only the URLs differ.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

import structlog

from api.background import Background
from api.health import Finding, HealthCheck
from api.metering import MeteringHealth, embeds_solana, make_metering, make_mirror
from api.mirror_health import MirrorHealth
from api.registration import Registration
from bridge.cluster.cluster import Cluster
from bridge.cluster.rpc.service import Service
from bridge.metering import Metering
from bridge.mirror.from_bsv.exits import ExitIndex
from bridge.mirror.mirror import Mirror
from bridge.mirror.records import MIRROR_COLLECTIONS
from bridge.records import BRIDGE_COLLECTIONS
from config.errors import ErrorCode, MetawattError, Unavailable
from config.secrets import admin_token, jwt_secret, node_key_hex
from config.settings import ChainSettings, Settings
from energytag.all_collections import COLLECTIONS as REGISTRY_COLLECTIONS
from energytag.logins import Logins
from energytag.registry import Registry
from energytag.tokens import Tokens, derived_secret
from lookup.hosted import hosted_lookup_services
from overlay.arc import ArcClient
from overlay.clock import NowMs, system_now_ms
from overlay.devchain import DEV_COLLECTIONS, DevChain
from overlay.engine import Engine, EngineLimits
from overlay.envelope import EnvelopeLimits
from overlay.headers import HeaderChain
from overlay.headers_client import HeadersServiceClient
from overlay.keys import PrivateKey
from overlay.lookup_service import LookupService
from overlay.outbox import Retry
from overlay.records import ENGINE_COLLECTIONS, STATE
from overlay.verifier import Verifier
from overlay.verify import VerifyLimits
from store.open import open_store
from store.sqlite import SqliteStore
from topics.hosted import hosted_topics

DEV_CHAIN_FILE = "devchain.db"
SOLANA_FILE = "solana.db"

log = structlog.get_logger("metawatt.node")


class Node:
    """A node made of settings. `start` when the port is known (`listening`), `stop` when requests are done.

    Several processes may serve as one node; all but the `primary` leave background work to it.
    """

    def __init__(self, settings: Settings, now_ms: NowMs = system_now_ms, *, primary: bool = True) -> None:
        self.settings = settings
        self.primary = primary
        self.started_ms = now_ms()
        self._now_ms = now_ms
        settings.node.data_dir.mkdir(parents=True, exist_ok=True)
        self.key = PrivateKey.from_hex(node_key_hex(settings).get_secret_value())
        self.identity = self.key.public
        self.admin_token = admin_token(settings).get_secret_value()
        self.callback_token = callback_token(settings.chain, self.key)
        self.tokens = user_tokens(settings, self.key, now_ms)
        self.logins = Logins(self.key, settings.access.challenge_secs, now_ms)
        self.store = open_store(settings.storage.uri, settings.node.data_dir, settings.storage)
        self._dev_store = SqliteStore(settings.node.data_dir / DEV_CHAIN_FILE)
        self.dev_chain = self._make_dev_chain() if settings.node.network == "dev" else None
        self.solana = self._make_solana() if embeds_solana(settings) else None
        self.engine: Engine
        self.headers: HeaderChain
        self._port = settings.node.port
        self._arc: ArcClient | None = None
        self._headers_client: HeadersServiceClient | None = None
        self._verifier: Verifier | None = None
        self._background: Background | None = None
        self._registration: Registration | None = None
        self.metering: Metering | None = None
        self._mirror_health: MirrorHealth | None = None

    @property
    def mirror(self) -> Mirror | None:
        """The bridge; None before the start, and where it is switched off."""
        return None if self.metering is None else self.metering.mirror

    @property
    def registry(self) -> Registry | None:
        """The EnergyTag registry; None before the start, and where it is switched off."""
        return None if self._registration is None else self._registration.registry

    def _make_dev_chain(self) -> DevChain:
        dev = self.settings.dev
        return DevChain(
            self._dev_store,
            self.settings.node.network,
            initial_blocks=dev.initial_blocks,
            mine_interval_secs=dev.mine_interval_secs,
            now_ms=self._now_ms,
        )

    def _make_solana(self) -> Service:
        store = SqliteStore(self.settings.node.data_dir / SOLANA_FILE)
        solana = self.settings.solana
        network = self.settings.node.network
        return Service(Cluster(store, network=network, slot_ms=solana.embedded_slot_ms, now_ms=self._now_ms))

    def listening(self, port: int) -> None:
        """Told by the server which port it took; the dev network's URLs need it."""
        self._port = port

    # Life

    async def start(self) -> None:
        """Open what is kept, catch up with the chain as far as it answers, and begin background work."""
        services = node_lookup_services(self.settings, self.identity, self._now_ms)
        collections = [collection for service in services for collection in service.collections]
        if self.settings.registry.enabled:
            collections += REGISTRY_COLLECTIONS
        if self.settings.takes_readings:
            collections += BRIDGE_COLLECTIONS
        if self.settings.mirrors:
            collections += MIRROR_COLLECTIONS
        await self.store.open([*ENGINE_COLLECTIONS, *collections])
        if self.dev_chain is not None:
            await self._dev_store.open(DEV_COLLECTIONS)
            await self.dev_chain.open()
        chain = self._chain_settings()
        self.headers = self._make_headers(chain)
        await self.headers.open()
        limits = self.settings.limits
        self._verifier = Verifier(
            self.headers, verify_limits(self.settings), timeout_secs=limits.verify_timeout_secs
        )
        self._arc = self._make_arc(chain)
        self.engine = Engine(
            self.store,
            self.headers,
            self._verifier,
            hosted_topics(self.settings, self.identity),
            services,
            broadcaster=self._arc,
            limits=engine_limits(self.settings),
            now_ms=self._now_ms,
        )
        await self._catch_up()
        await self.engine.open()
        self._background = Background(self.engine, self.settings, primary=self.primary)
        self._background.start()
        if self.settings.registry.enabled:
            self._registration = self._make_registration(self._verifier)
            await self._registration.start()
        if self.settings.takes_readings:
            await self._start_metering()

    async def _start_metering(self) -> None:
        if self.solana is not None:
            await self.solana.cluster.open()
            self.solana.start()
        self.metering = make_metering(
            self.settings,
            self.store,
            self._now_ms,
            self._own_host(),
            self._port,
            primary=self.primary,
            mirror=self._make_mirror() if self.settings.mirrors else None,
        )
        if self.metering.mirror is not None:
            self._mirror_health = MirrorHealth(self.metering.mirror, self.metering.pulse, self._now_ms)
        await self.metering.start()

    def _make_mirror(self) -> Mirror:
        if self.registry is None:
            raise MetawattError("A bridge needs the registry: set registry.enabled", ErrorCode.SETTINGS_INVALID)
        return make_mirror(
            self.settings, self.store, self.engine, self.registry, self._now_ms, primary=self.primary
        )

    def _make_registration(self, verifier: Verifier) -> Registration:
        return Registration(
            self.settings,
            self.key,
            self.store,
            self.engine,
            self.headers,
            verifier,
            self.dev_chain,
            self._now_ms,
            primary=self.primary,
        )

    async def _catch_up(self) -> None:
        try:
            await self.headers.sync()
        except Unavailable as error:
            # The node can answer queries meanwhile; background work keeps trying.
            log.warning("the headers service does not answer yet", reason=error.message)

    async def stop(self) -> None:
        """End background work, finish the outbox as far as time allows, close everything."""
        if self.metering is not None:
            await self.metering.stop()
        if self._registration is not None:
            await self._registration.stop()
        if self._background is not None:
            await self._background.stop(self.settings.node.shutdown_secs)
        if self._verifier is not None:
            await self._verifier.close()
        for client in (self._arc, self._headers_client):
            if client is not None:
                await client.close()
        if self.solana is not None:
            self.solana.stop()
            await self.solana.cluster.close()
        if self.dev_chain is not None:
            await self.dev_chain.close()
            await self._dev_store.close()
        await self.store.close()

    # Parts

    def _chain_settings(self) -> ChainSettings:
        """The chain's URLs; on the dev network this node's own."""
        chain = self.settings.chain
        if self.dev_chain is None:
            return chain
        own = f"http://{self._own_host()}:{self._port}"
        return chain.model_copy(
            update={
                "arc_url": f"{own}/dev/arc",
                "arc_callback_url": f"{own}/arc-ingest",
                "headers_url": f"{own}/dev/headers",
                "first_height": 0,
            }
        )

    def _own_host(self) -> str:
        """The dev chain is always talked to over loopback, whatever the node listens on."""
        return "127.0.0.1" if self.settings.node.host in ("0.0.0.0", "localhost") else self.settings.node.host  # noqa: S104

    def _make_headers(self, chain: ChainSettings) -> HeaderChain:
        if chain.headers_url is None:
            raise MetawattError(
                f"network {self.settings.node.network} needs a headers service: set chain.headers_url",
                ErrorCode.SETTINGS_INVALID,
            )
        key = chain.headers_api_key.get_secret_value() if chain.headers_api_key else None
        self._headers_client = HeadersServiceClient(chain.headers_url, key, chain.request_timeout_secs)
        return HeaderChain(
            self.store, self._headers_client, first_height=chain.first_height, reorg_limit=chain.reorg_limit
        )

    def _make_arc(self, chain: ChainSettings) -> ArcClient | None:
        if chain.arc_url is None or not self.settings.engine.broadcast:
            return None
        return ArcClient(
            chain.arc_url,
            chain.arc_api_key.get_secret_value() if chain.arc_api_key else None,
            chain.arc_callback_url,
            self.callback_token,
            chain.request_timeout_secs,
        )

    # Health

    @property
    def health_checks(self) -> list[HealthCheck]:
        own = [
            HealthCheck("storage", "ready", True, self._check_storage),
            HealthCheck("chain", "ready", True, self._check_chain),
        ]
        if self._registration is not None:
            own += self._registration.health_checks
        if self.metering is not None:
            own += MeteringHealth(self.metering, is_embedded=self.solana is not None).checks
        if self._mirror_health is not None:
            own += self._mirror_health.checks
        return own

    async def _check_storage(self) -> Finding:
        await self.store.get(STATE, "health")
        return Finding()

    async def _check_chain(self) -> Finding:
        if self.headers.halted is not None:
            return Finding("error", self.headers.halted)
        if self.headers.tip is None:
            return Finding("error", "no block header is known yet: the headers service has not answered")
        return Finding(details={"tipHeight": self.headers.tip_height})


def node_lookup_services(settings: Settings, identity: bytes, now_ms: NowMs = system_now_ms) -> list[LookupService]:
    """The lookup services of a node, that of its bridge among them. `identity` is the node's key, 33 B."""
    services = hosted_lookup_services(settings)
    return [*services, ExitIndex(identity, now_ms)] if settings.mirrors else services


def callback_token(chain: ChainSettings, key: PrivateKey) -> str:
    """What ARC must show at /arc-ingest: the one that is set, else one that only this node's key gives."""
    if chain.arc_callback_token is not None:
        return chain.arc_callback_token.get_secret_value()
    return hmac.digest(key.secret, b"metawatt arc callback", sha256).hex()


def user_tokens(settings: Settings, key: PrivateKey, now_ms: NowMs) -> Tokens:
    """Tokens under the secret that is set, else one that only this node's key gives."""
    set_secret = jwt_secret(settings)
    secret = derived_secret(key.secret) if set_secret is None else set_secret.get_secret_value().encode()
    return Tokens(secret, settings.access.token_hours, now_ms)


def verify_limits(settings: Settings) -> VerifyLimits:
    limits = settings.limits
    return VerifyLimits(
        inputs=limits.beef_inputs,
        script_bytes=limits.script_bytes,
        sigops=limits.script_sigops,
        hashed_bytes=limits.script_hashed_bytes,
        inline_script_bytes=limits.inline_script_bytes,
        inline_sigops=limits.inline_sigops,
        coinbase_maturity=settings.chain.coinbase_maturity,
    )


def engine_limits(settings: Settings) -> EngineLimits:
    limits, engine = settings.limits, settings.engine
    return EngineLimits(
        envelope=EnvelopeLimits(
            limits.beef_transactions, limits.beef_bumps, limits.beef_outputs, limits.beef_bump_bytes
        ),
        retry=Retry(engine.broadcast_retry_secs, engine.broadcast_retry_max_secs, engine.broadcast_concurrency),
        topics=limits.topics_per_submission,
        history=limits.lookup_history,
        response_bytes=limits.response_bytes,
        broadcast_concurrency=engine.broadcast_concurrency,
        unproven_max_age_ms=int(engine.unproven_max_age_secs * 1000),
    )
