"""Transactions that bring the treasury coins, before the engine keeps them."""

from __future__ import annotations

from overlay.envelope import Envelope
from overlay.headers import HeaderChain
from overlay.hydrate import load_members
from overlay.verifier import Verifier
from store.port import Reader


async def verify(envelope: Envelope, reader: Reader, headers: HeaderChain, verifier: Verifier) -> None:
    """Hold an envelope against the header chain and run its scripts; ancestors that did not come along are taken
    from what is kept. `BadRequest` as `overlay.verify.prepare` and `run` raise it."""
    missing = envelope.missing()
    if missing:
        envelope.supply(await load_members(reader, missing))
    heights = {member.bump.height for member in envelope.ancestry() if member.bump is not None}
    await headers.ensure(height for height in heights if headers.root_at(height) is None)
    await verifier.verify(envelope)
