"""Bounds on what a client of the embedded cluster may ask for."""

from __future__ import annotations

from typing import Final

BODY_MOST_BYTES: Final = 1_000_000
BATCH_MOST_CALLS: Final = 1000
TRANSACTION_MOST_BYTES: Final = 1232
MESSAGE_MOST_BYTES: Final = 100_000
"""Of one WebSocket message from a client."""
SUBSCRIPTIONS_MOST: Final = 1000
"""Of one connection."""
CONNECTIONS_MOST: Final = 1000
WAITING_MOST_NOTICES: Final = 10_000
"""Notices that a connection may have waiting before it is cut off as too slow."""
ACCOUNTS_MOST: Final = 100
STATUSES_MOST: Final = 256
HISTORY_MOST: Final = 1000
FILTERS_MOST: Final = 4
MEMCMP_MOST_BYTES: Final = 128
BLOCKS_MOST: Final = 500_000
LEADERS_MOST: Final = 5000
LARGEST_ACCOUNTS: Final = 20
