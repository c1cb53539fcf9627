"""The registry put together on a node: its treasury, its queue, its background work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from api.health import Finding, HealthCheck
from api.workers import worker_count
from basket.keyring import Keyring
from basket.remote import RemoteWallet
from basket.top_up import TopUp
from basket.treasury import EmbeddedTreasury
from config.errors import MetawattError, Unavailable
from config.settings import Settings
from energytag.delivery import Deliveries
from energytag.forge import Forge
from energytag.ground import RegistryGround
from energytag.intake import LOOK_SECS, QUICK_LOOK_SECS
from energytag.measure import oldest_ms
from energytag.pushing import Pusher
from energytag.recurring import due
from energytag.registry import Registry
from energytag.wallet_signing import WalletSigning
from overlay.clock import NowMs
from overlay.devchain import DevChain
from overlay.engine import Engine
from overlay.headers import HeaderChain
from overlay.keys import PrivateKey
from overlay.verifier import Verifier
from store.port import Store
from topics.hosted import policy_of

_TEND_SECS = 2.0
_PUSH_SECS = 1.0
_SIGN_SECS = 0.5
_UNDO_SECS = 2.0
_STUCK_SECS = 60

log = structlog.get_logger("metawatt.registry")


class Registration:
    """The registry of one process; background work is the `primary`'s."""

    def __init__(
        self,
        settings: Settings,
        key: PrivateKey,
        store: Store,
        engine: Engine,
        headers: HeaderChain,
        verifier: Verifier,
        dev_chain: DevChain | None,
        now_ms: NowMs,
        *,
        primary: bool,
    ) -> None:
        keyring = Keyring(key)
        self._settings = settings
        self._primary = primary
        self._tasks: list[asyncio.Task[None]] = []
        self.treasury = EmbeddedTreasury(
            store,
            engine,
            headers,
            verifier,
            keyring,
            settings.wallet,
            now_ms,
            network=settings.node.network,
            fund=None if dev_chain is None else dev_chain.faucet,
        )
        ground = RegistryGround(store, engine, headers, keyring, policy_of(settings, key.public), settings, now_ms)
        self._forge = Forge(key) if settings.registry.signing_process and primary else None
        self.registry = Registry(
            ground,
            self.treasury,
            Deliveries(now_ms).writes_for,
            primary=primary,
            look_secs=QUICK_LOOK_SECS if worker_count(settings) > 1 else LOOK_SECS,
            forge=self._forge,
        )
        wallet = settings.wallet
        self._pusher = Pusher(store, keyring, wallet, settings.node.network, now_ms)
        self._signing = WalletSigning(self.registry, wallet, settings.node.network)
        self._remote = RemoteWallet(wallet.remote_url, wallet.remote_originator) if wallet.remote_url else None
        self._top_up = TopUp(self.treasury, self._remote, wallet, now_ms) if self._remote else None

    async def start(self) -> None:
        if self._primary:
            await self.treasury.open()
        await self.registry.start()
        if self._primary:
            poll_secs = self._settings.registry.recurring_poll_secs
            self._tasks = [
                asyncio.create_task(_every(_TEND_SECS, self.treasury.tend), name="treasury"),
                asyncio.create_task(_every(poll_secs, self._due), name="recurring"),
                asyncio.create_task(_every(_PUSH_SECS, self._pusher.work), name="deliveries"),
                asyncio.create_task(_every(_SIGN_SECS, self._signing.work), name="wallets' signatures"),
                asyncio.create_task(_every(_UNDO_SECS, self.registry.undoing.work), name="undoing"),
            ]
            if self._top_up is not None:
                self._tasks.append(asyncio.create_task(_every(_TEND_SECS, self._top_up.work), name="top-up"))

    async def _due(self) -> None:
        await due(self.registry.ground, self.registry.act)

    async def stop(self) -> None:
        """End the work within the node's time; what is under way is finished later, or was never begun."""
        for task in self._tasks:
            task.cancel()
        ending = [*self._tasks, asyncio.create_task(self.registry.stop(), name="registry queue's end")]
        _, late = await asyncio.wait(ending, timeout=self._settings.node.shutdown_secs)
        if late:
            log.warning("did not end in time", work=sorted(task.get_name() for task in late))
        if self._forge is not None:
            await self._forge.close()
        await self._pusher.close()
        await self._signing.close()
        if self._remote is not None:
            await self._remote.close()

    # Health

    @property
    def health_checks(self) -> list[HealthCheck]:
        return [
            HealthCheck("wallet", "ready", False, self._check_wallet),
            HealthCheck("registry queue", "ready", False, self._check_queue),
        ]

    async def _check_wallet(self) -> Finding:
        if self.treasury.is_below_alarm(await self.treasury.kept_satoshis()):
            return Finding("degraded", "few coins for fees are left; GET /admin/wallet tells where to pay more")
        return Finding()

    async def _check_queue(self) -> Finding:
        if self._primary and not self.registry.is_at_work:
            return Finding("error", "the queue is not worked off: see the log, and restart the node")
        ground = self.registry.ground
        waits_secs = await oldest_ms(ground.store, ground.now_ms()) // 1000
        if waits_secs > _STUCK_SECS:
            return Finding("degraded", f"an action has waited for {waits_secs} seconds; the log says for what")
        return Finding()


async def _every(pause_secs: float, work: Callable[[], Awaitable[object]]) -> None:
    """Rounds of work; one that fails is logged, and the next tries again."""
    while True:
        try:
            await work()
        except Unavailable as error:
            log.warning("put off", work=work.__qualname__, reason=error.message)
        except MetawattError as error:
            log.error("failed", work=work.__qualname__, code=error.code, reason=error.message)
        except Exception:
            log.exception("failed", work=work.__qualname__)
        await asyncio.sleep(pause_secs)
