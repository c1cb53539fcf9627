"""A registry without HTTP: the real engine, store, dev chain, treasury and queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from basket.keyring import Keyring
from basket.treasury import EmbeddedTreasury
from config.settings import Settings
from energytag.actions import Action, Kind, State
from energytag.all_collections import COLLECTIONS
from energytag.ground import RegistryGround
from energytag.queue import Outcome
from energytag.records import ACCOUNTS, DEVICES
from energytag.registry import Registry
from overlay.lookup_service import LookupService
from overlay.records import ENGINE_COLLECTIONS
from store.port import Collection, Document, Put, Store
from tests.overlay.kit import Chain, Clock, Node
from topics.hosted import policy_of

ACCOUNT = "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d11"
OTHER_ACCOUNT = "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d12"
DEVICE = "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b42"
ORGANISATION = "7c0f8e7e-6a55-4f0e-8b3c-2f6d7a1b9c01"
FIRST_HOUR = "2026-01-01T00:00:00Z"


def account_row(account_id: str, **fields: Any) -> Document:
    return {
        "_id": account_id,
        "name": f"Account {account_id[-2:]}",
        "organisation_id": ORGANISATION,
        "identity_key": None,
        "webhook_url": None,
        "wallet_url": None,
        "whitelist": None,
        "rev": 0,
    } | fields


def device_row(device_id: str, account_id: str = ACCOUNT, **fields: Any) -> Document:
    return {
        "_id": device_id,
        "account_id": account_id,
        "device_name": "Roof 1",
        "grid": "10YNL----------L",
        "energy_source": "solar_pv",
        "technology_type": "solar_pv",
        "operational_date": "2021-04-01",
        "capacity_w": 100_000,
        "peak_demand": 0,
        "location": [52.1, 5.2],
        "country": "NL",
        "zone": "NL",
        "rev": 0,
    } | fields


def moment(hour: float) -> str:
    """The moment so many hours after the first."""
    from datetime import datetime, timedelta

    return (datetime.fromisoformat(FIRST_HOUR) + timedelta(hours=hour)).isoformat().replace("+00:00", "Z")


def readings(first: int, count: int, energy_wh: int = 1000) -> list[dict[str, Any]]:
    """Hourly readings."""
    return [
        {"start": moment(hour), "end": moment(hour + 1), "energy_wh": energy_wh}
        for hour in range(first, first + count)
    ]


class RegistryNode:
    """An engine and a registry on one store."""

    def __init__(
        self,
        chain: Chain,
        store: Store,
        clock: Clock,
        settings: Settings | None = None,
        services: Sequence[LookupService] = (),
    ) -> None:
        self.settings = settings or Settings()
        self.chain, self.store, self.clock = chain, store, clock
        self.node = Node(chain, store, clock, settings=self.settings, services=services)
        self.keyring = Keyring(chain.issuer)
        self.treasury = EmbeddedTreasury(
            store,
            self.node.engine,
            self.node.headers,
            self.node.verifier,
            self.keyring,
            self.settings.wallet,
            clock,
            fund=chain.dev.faucet,
        )
        ground = RegistryGround(
            store,
            self.node.engine,
            self.node.headers,
            self.keyring,
            policy_of(self.settings, chain.issuer.public),
            self.settings,
            clock,
        )
        self.registry = Registry(ground, self.treasury, lambda _: ())

    async def open(self, *others: Collection) -> None:
        collections = [each for service in self.node.services for each in service.collections]
        await self.store.open([*ENGINE_COLLECTIONS, *collections, *COLLECTIONS, *others])
        await self.node.headers.open()
        await self.node.headers.sync()
        await self.node.engine.open()
        await self.treasury.open()
        await self.registry.start()

    async def close(self) -> None:
        await self.registry.stop()
        await self.node.close()

    async def populate(self) -> None:
        """Two accounts, and a device of the first."""
        await self.store.commit(
            [
                Put(ACCOUNTS, account_row(ACCOUNT)),
                Put(ACCOUNTS, account_row(OTHER_ACCOUNT)),
                Put(DEVICES, device_row(DEVICE)),
            ]
        )

    async def act(self, kind: Kind, request: dict[str, Any], **options: Any) -> Outcome:
        options.setdefault("account_id", request.get("source_account_id", ACCOUNT))
        options.setdefault("wait_secs", 30)
        return await self.registry.act(kind, request, user_id=None, **options)

    async def resolved(self, kind: Kind, request: dict[str, Any], **options: Any) -> Outcome:
        """An action that must come through."""
        outcome = await self.act(kind, request, **options)
        assert outcome.action.state is State.RESOLVED, outcome.action.error
        return outcome

    async def issue(self, first: int = 0, count: int = 1, energy_wh: int = 1000) -> Action:
        """Hourly bundles of the device."""
        request = {"device_id": DEVICE, "readings": readings(first, count, energy_wh)}
        return (await self.resolved(Kind.CREATE_MANY, request)).action
