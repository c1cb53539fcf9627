"""What takes readings and makes tokens of them, in one process of the node.

Readings are taken from the first moment on, whether or not the cluster answers: they are stored, and wait. The
minter and the event processor begin once the cluster has answered and is the one that was meant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from solders.pubkey import Pubkey

from bridge.connecting import Connecting
from bridge.hub import Hub
from bridge.measure import Measuring
from bridge.meters.directory import MeterDirectory
from bridge.meters.intake import Intake
from bridge.meters.mirroring import NOT_MIRRORING
from bridge.minting.desk import Desk
from bridge.minting.minting import Minting
from bridge.mirror.mirror import Joining, Mirror
from bridge.programs.idl import idl
from bridge.programs.keys import Signer
from bridge.programs.mode import MintMode
from bridge.pulse import Pulse
from bridge.relay import Relay
from bridge.solana.rpc import SeenTransaction, SolanaRpc
from bridge.watching.applying import OnFinal
from bridge.watching.follower import Role, Watched
from bridge.watching.processor import EventProcessor
from config.errors import ErrorCode, MetawattError, Unavailable
from config.settings import Settings
from overlay.clock import NowMs
from store.port import Store, Write

UNREACHED: Final = "the cluster cannot be reached; the log says why"
_FIRST_PAUSE_SECS: Final = 0.5
_LONGEST_PAUSE_SECS: Final = 30.0

log = structlog.get_logger("metawatt.metering")


@dataclass(frozen=True, slots=True)
class Solana:
    """How the node reaches a cluster, and who signs there. `is_test`: it has a faucet, and the mint may be made."""

    rpc: SolanaRpc
    ws_url: str | None
    signer: Signer
    co_signers: Sequence[Signer] = ()
    is_test: bool = False


@dataclass(frozen=True, slots=True)
class _Connected:
    minting: Minting
    watching: EventProcessor

    async def start(self) -> None:
        """Both, or neither: what was begun does not go on by itself while it is tried again."""
        try:
            await self.minting.start()
            await self.watching.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await self.watching.stop()
        await self.minting.stop()


class Metering:
    """Meters and their readings, always; minting and watching once connected. The `primary` does the background
    work; in the node's other processes the same may be asked for, and is carried out there."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        now_ms: NowMs,
        solana: Solana | None,
        *,
        relay: Relay | None,
        primary: bool,
        mirror: Mirror | None = None,
    ) -> None:
        self.mirror = mirror
        self.hub = Hub(settings.live, relay)
        mirroring = NOT_MIRRORING if mirror is None else mirror.mirroring
        self.meters = MeterDirectory(store, settings.meters, now_ms, mirroring)
        self.intake = Intake(store, self.meters, settings, now_ms, self.hub.tell, mirroring)
        self.measuring = Measuring(store, settings.tokenization, now_ms)
        self.solana = solana
        self.pulse = self._pulse() if primary else None
        self.trouble: str | None = (
            "solana.rpc_url is not set" if solana is None else "the cluster was not asked yet"
        )
        self._desk = Desk(store, settings.tokenization, now_ms)
        self._settings = settings
        self._store = store
        self._now_ms = now_ms
        self._primary = primary
        self._connected: _Connected | None = None
        self._connecting: asyncio.Task[None] | None = None

    def _pulse(self) -> Pulse | None:
        if self.solana is None:
            return None
        bridge = None if self.mirror is None else self.mirror.payer
        return Pulse(self.solana.rpc, self.solana.signer.public, bridge)

    @property
    def minting(self) -> Minting:
        """Raises `Unavailable` until the cluster has answered."""
        return self._demand().minting

    @property
    def desk(self) -> Desk:
        """What may be asked of the minter at any time; it is carried out once the cluster has answered."""
        return self._desk if self._connected is None else self._connected.minting

    @property
    def watching(self) -> EventProcessor:
        """Raises `Unavailable` until the cluster has answered."""
        return self._demand().watching

    @property
    def is_connected(self) -> bool:
        return self._connected is not None

    def _demand(self) -> _Connected:
        if self._connected is None:
            raise Unavailable(f"Solana is not to be had: {self.trouble}", ErrorCode.SOLANA_UNAVAILABLE)
        return self._connected

    # Life

    async def start(self) -> None:
        self.hub.start()
        if self.pulse is not None:
            await self.pulse.start()
        if self.solana is not None:
            self._connecting = asyncio.create_task(self._connect(self.solana), name="connecting to Solana")

    async def stop(self) -> None:
        """End background work; what is under way is gone on with at the next start."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self.mirror is not None:
            await self.mirror.stop()
        if self._connected is not None:
            await self._connected.stop()
        if self.pulse is not None:
            await self.pulse.stop()
        await self.hub.stop()
        if self.solana is not None:
            await self.solana.rpc.close()

    async def _connect(self, solana: Solana) -> None:
        """Ask until the cluster answers, and is the one that was meant."""
        pause_secs = _FIRST_PAUSE_SECS
        while True:
            try:
                await self._begin(solana)
                return
            except MetawattError as error:
                self.trouble = UNREACHED if isinstance(error, Unavailable) else error.message
                log.warning("Solana is not to be had", reason=error.message)
            except Exception:
                self.trouble = "an unexpected fault; the log has it"
                log.exception("connecting to Solana failed")
            await asyncio.sleep(pause_secs)
            pause_secs = min(2 * pause_secs, _LONGEST_PAUSE_SECS)

    async def _begin(self, solana: Solana) -> None:
        settings = self._settings
        mode = await Connecting(
            self._store,
            solana.rpc,
            solana.signer,
            solana.co_signers,
            settings.solana,
            settings.tokenization.decimals,
            solana.is_test,
        ).mode()
        joining = None if self.mirror is None else await self.mirror.connect(solana.rpc, mode)
        minting = self._minting(solana, mode)
        connected = _Connected(minting, self._watching(solana, mode, minting, joining))
        if self.mirror is not None:
            self.mirror.replay = connected.watching.replay
        if self._primary:
            await connected.start()
        self._connected = connected
        self.trouble = None
        log.info("connected to Solana", mint=str(mode.mint), key=str(solana.signer.public))

    def _minting(self, solana: Solana, mode: MintMode) -> Minting:
        settings = self._settings
        return Minting(
            self._store,
            solana.rpc,
            mode,
            solana.signer,
            settings.tokenization,
            settings.solana,
            self._now_ms,
            self.hub.tell,
            co_signers=solana.co_signers,
            has_faucet=solana.is_test,
        )

    def _watching(
        self, solana: Solana, mode: MintMode, minting: Minting, joining: Joining | None
    ) -> EventProcessor:
        programs = self._programs()
        programs_watched = [
            Watched(name, address, Role.PROGRAM, from_start=False) for name, address in programs.items()
        ]
        custody = self._custody() if joining is None else joining.watched
        return EventProcessor(
            self._store,
            solana.rpc,
            solana.ws_url,
            [Watched("mint", mode.mint), *custody, *programs_watched],
            self._now_ms,
            minting.wake,
            minting.confirmations if joining is None else _both(minting.confirmations, joining.on_final),
            turn=minting.turn,
            idls={address: idl(name) for name, address in programs.items()},
        )

    def _custody(self) -> list[Watched]:
        account = self._settings.solana.custody_account
        return [] if account is None else [Watched("custody", Pubkey.from_string(account), Role.CUSTODY)]

    def _programs(self) -> dict[str, Pubkey]:
        """GridTokenX's programs, by their IDLs' names, where they are what mints."""
        settings = self._settings.solana
        if settings.mint_mode == "own":
            return {}
        return {
            "energy_token": Pubkey.from_string(settings.energy_token_program_id),
            "registry": Pubkey.from_string(settings.registry_program_id),
        }


def _both(first: OnFinal, second: OnFinal) -> OnFinal:
    """The writes of both join one commit."""

    async def on_final(seen: SeenTransaction) -> Sequence[Write]:
        return [*await first(seen), *await second(seen)]

    return on_final
