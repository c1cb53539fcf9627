"""Whether a release that is not to be found may be given up: what every endpoint says of it, for
`bridge.minting.expiry.verdict`.

One endpoint may lag, have forgotten, or lie. A release is signed anew only when all of them, each past its last
valid block, find neither the transaction nor a marker; one that does not answer keeps it open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from solders.pubkey import Pubkey

from bridge.minting.expiry import Evidence, may_be_expired
from bridge.mirror.to_solana.flights import Flight
from bridge.programs.mode import is_guard
from bridge.solana.rpc import SolanaRpc


async def evidence_of(flight: Flight, markers: Sequence[Pubkey], endpoints: Sequence[SolanaRpc]) -> Evidence:
    """What speaks for its having landed, or that it may, taken together over all endpoints. Raises `Unavailable`
    when one does not answer."""
    told = await asyncio.gather(*(_told(flight, markers, each) for each in endpoints))
    return Evidence(
        last_valid_block_height=flight.last_valid_block_height,
        finalized_block_height=min(each.finalized_block_height for each in told),
        is_in_history=any(each.is_in_history for each in told),
        guards=max(each.guards for each in told),
    )


async def _told(flight: Flight, markers: Sequence[Pubkey], rpc: SolanaRpc) -> Evidence:
    """By one endpoint. The height is asked for first: what is not found is then not found at that height, or later;
    the history in both ways that a cluster offers; the markers last."""
    height = await rpc.block_height()
    is_known, guards = False, 0
    if may_be_expired(flight.last_valid_block_height, height):
        (status,) = await rpc.statuses([flight.signature], history=True)
        is_known = status is not None or await rpc.transaction(flight.signature) is not None
        guards = sum(map(is_guard, await rpc.accounts(markers)))
    return Evidence(flight.last_valid_block_height, height, is_known, guards)
