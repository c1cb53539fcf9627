"""Every collection of the registry and of its wallet, for the store to open."""

from __future__ import annotations

from typing import Final

from basket.coins import FUND_COINS
from energytag.consumption import CONSUMPTION
from energytag.delivery import DELIVERIES
from energytag.imports import IMPORTED
from energytag.measurements import MEASUREMENTS
from energytag.private import PRIVATE
from energytag.records import CORE
from energytag.recurring import RECURRING
from energytag.signature_requests import REQUESTS
from energytag.storage_records import COLLECTIONS as STORAGE_RECORDS
from energytag.undone import UNDONE
from store.port import Collection

COLLECTIONS: Final[tuple[Collection, ...]] = (
    *CORE,
    PRIVATE,
    UNDONE,
    RECURRING,
    IMPORTED,
    MEASUREMENTS,
    CONSUMPTION,
    *STORAGE_RECORDS,
    FUND_COINS,
    DELIVERIES,
    REQUESTS,
)
