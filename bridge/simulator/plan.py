"""What is asked of a run, and the meters that follow from it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from solders.pubkey import Pubkey

from bridge.meters.formats import Format
from bridge.meters.registration import MOST_INTERVAL_SECS, SERIAL, interval_divides
from bridge.programs.keys import keypair_in
from bridge.simulator.clock import MeterClock
from bridge.simulator.config_file import SimulatorConfig, SimulatorConfigInvalid
from bridge.simulator.gateway import SUBMIT
from bridge.simulator.keyring import Keyring
from bridge.simulator.meter import Meter, serials
from bridge.simulator.noise import between
from bridge.simulator.site import MIX, SiteKind, site_of
from overlay.clock import NowMs

DEFAULT_URL: Final = "http://127.0.0.1:8080"
DEFAULT_SERIAL: Final = "METER-001"
READINGS_A_CALL: Final = 100
"""For the batch endpoint."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. `count` is the number of intervals, None for until it is stopped; `skew_secs` is how far clocks are
    off at most; `kind` is None for a mix; `wallet` is None for a wallet of its own for each meter."""

    url: str = DEFAULT_URL
    endpoint: str = SUBMIT
    meters: int = 1
    first_serial: str = DEFAULT_SERIAL
    interval_secs: int = 300
    count: int | None = None
    speed: int = 1
    seed: int = 1
    skew_secs: float = 2.0
    kind: SiteKind | None = None
    form: Format = Format.GRIDTOKENX
    wallet: str | None = None
    first_key: Path | None = None
    keys: Path = field(default_factory=lambda: Path("data/simulator"))
    readings_a_call: int = 1
    """1 for the endpoint that takes one; above it, for the batch endpoint."""

    def fleet(self, now_ms: NowMs) -> list[Meter]:
        """The meters, with keys made where they are missing. Raises `SimulatorConfigInvalid`, `SecretUnusable`."""
        self._check()
        ring = Keyring(self.keys)
        return [self._meter(ring, n, serial, now_ms) for n, serial in enumerate(self._serials())]

    def _serials(self) -> list[str]:
        return serials(self.first_serial, self.meters)

    def _meter(self, ring: Keyring, n: int, serial: str, now_ms: NowMs) -> Meter:
        skew_ms = round(1000 * between(-self.skew_secs, self.skew_secs, self.seed, serial, "skew"))
        return Meter(
            serial=serial,
            site=site_of(self.seed, serial, self.kind or MIX[n % len(MIX)], self.speed),
            key=keypair_in(self.first_key, make=True)
            if n == 0 and self.first_key is not None
            else ring.meter(serial),
            wallet=self.wallet or str(ring.wallet(serial).pubkey()),
            form=self.form,
            interval_secs=self.interval_secs,
            clock=MeterClock(now_ms, skew_ms),
        )

    def _check(self) -> None:
        try:
            interval_divides(self.interval_secs)
        except ValueError:
            message = f"an interval of {self.interval_secs} s does not divide an hour ({MOST_INTERVAL_SECS} s)"
            raise SimulatorConfigInvalid(message) from None
        # A serial is part of the names of files, and so must be checked before there is any.
        if not re.fullmatch(SERIAL, self.first_serial, re.ASCII):
            raise SimulatorConfigInvalid(f"{self.first_serial!r} does not do as a meter's serial")
        if self.wallet is not None and not _is_address(self.wallet):
            raise SimulatorConfigInvalid("the wallet's address is no base58 of 32 bytes")


def planned(config: SimulatorConfig, **options: object) -> Plan:
    """The plan that options make on top of what a file says; an option that is None is not given."""
    said: dict[str, object] = {
        "url": config.api_gateway.url,
        "endpoint": config.api_gateway.endpoint,
        "first_serial": config.meter.id,
        "wallet": config.meter.wallet_address,
        "interval_secs": config.meter.reading_interval_seconds,
        "first_key": config.signing.private_key_path,
    }
    given = {name: value for layer in (said, options) for name, value in layer.items() if value is not None}
    return Plan(**given)  # type: ignore[arg-type]


def _is_address(text: str) -> bool:
    try:
        Pubkey.from_string(text)
    except ValueError:
        return False
    return True
