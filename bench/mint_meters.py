"""Meters of a campaign: they sign readings and hand them in, and remember what they were told is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final

from base58 import b58encode
from nacl.signing import SigningKey
from solders.keypair import Keypair

from bench.mint_check import Owed
from bridge.meters.body import ReadingBody
from bridge.meters.directory import MeterDirectory
from bridge.meters.formats import Format, signed_message
from bridge.meters.intake import Intake, Taken
from bridge.meters.registration import Registration
from config.settings import Settings
from overlay.clock import system_now_ms
from store.port import Store

METERS: Final = 40
WALLETS: Final = 12
INTERVAL_SECS: Final = 300


@dataclass(frozen=True, slots=True)
class Meter:
    serial: str
    key: SigningKey
    wallet: str

    def registration(self) -> Registration:
        public = b58encode(bytes(self.key.verify_key)).decode()
        return Registration(
            serial=self.serial,
            wallet=self.wallet,
            public_key=public,
            format=Format.GRIDTOKENX,
            interval_secs=INTERVAL_SECS,
            verified=True,
        )

    def reading(self, at_secs: int, kwh: str) -> ReadingBody:
        timestamp = datetime.fromtimestamp(at_secs, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        message = signed_message(Format.GRIDTOKENX, self.serial, timestamp, kwh, self.wallet)
        signature = b58encode(self.key.sign(message).signature).decode()
        return ReadingBody(kwh, timestamp, signature, self.serial)


@dataclass(slots=True)
class Meters:
    """`owed` is what was accepted, each reading once."""

    meters: Sequence[Meter]
    intake: Intake
    chance: Random
    _owed: dict[str, Owed] = field(default_factory=dict)

    @classmethod
    async def registered(cls, store: Store, chance: Random) -> Meters:
        """Meters whose owners have several each."""
        settings = Settings()
        directory = MeterDirectory(store, settings.meters, system_now_ms)
        wallets = [str(Keypair.from_seed(chance.randbytes(32)).pubkey()) for _ in range(WALLETS)]
        meters = [
            Meter(f"METER-{number:03}", SigningKey(chance.randbytes(32)), wallets[number % WALLETS])
            for number in range(METERS)
        ]
        for each in meters:
            await directory.register(each.registration())
        return cls(meters, Intake(store, directory, settings, system_now_ms), chance)

    def waves(self, readings: int, waves: int) -> list[list[ReadingBody]]:
        """So many readings, each of an interval of its own, in waves."""
        newest = system_now_ms() // 1000 // INTERVAL_SECS * INTERVAL_SECS
        bodies = [
            self.meters[number % METERS].reading(
                newest - (1 + number // METERS) * INTERVAL_SECS, f"{self.chance.randint(1, 99_999_999) / 10**6:.6f}"
            )
            for number in range(readings)
        ]
        self.chance.shuffle(bodies)
        size = -(-readings // waves)
        return [bodies[start : start + size] for start in range(0, readings, size)]

    async def submit(self, bodies: Sequence[ReadingBody]) -> None:
        """Hand them in; each must be taken."""
        for body, taken in zip(bodies, await self.intake.submit_many(list(bodies)), strict=True):
            if not isinstance(taken, Taken):
                raise taken
            document = taken.document
            reading = b58encode(document["_id"]).decode()
            wallet = next(each.wallet for each in self.meters if each.serial == body.meter_serial)
            serial = body.meter_serial or ""
            self._owed[reading] = Owed(reading, serial, document["interval_start_ms"], body.kwh_amount, wallet)

    @property
    def owed(self) -> list[Owed]:
        return list(self._owed.values())
