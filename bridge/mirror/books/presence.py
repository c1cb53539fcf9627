"""Whether the source of a message is there at this moment: what an operator's write-off hangs on."""

from __future__ import annotations

from solders.signature import Signature

from bridge.mirror.from_bsv.depth import Gone, load_places, verdict_on
from bridge.mirror.from_bsv.locks import load_locks
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message
from bridge.mirror.states import Direction


class Presence:
    """Asks the overlay of exits, and the first endpoint of what came from Solana."""

    def __init__(self, ground: MirrorGround) -> None:
        self._ground = ground

    async def against_write_off(self, message: Message) -> str | None:
        """Why its source cannot be called gone, for people; None when it is. Raises `Unavailable`."""
        if message.direction is Direction.OUT:
            return await self._on_bsv(message.source_event)
        return await self._on_solana(message)

    async def _on_bsv(self, outpoint: bytes) -> str | None:
        ground = self._ground
        place = (await load_places(ground.store, [outpoint]))[outpoint]
        if isinstance(verdict_on(place, 1, ground.engine.headers), Gone):
            return None
        locks = await load_locks(ground.store, [outpoint], ground.identity)
        return "its certificate is here, locked to the bridge" if outpoint in locks else None

    async def _on_solana(self, message: Message) -> str | None:
        if message.was_accounted:
            return "it is in the books, and what is final on Solana stays"
        told = await self._ground.rpc.transaction(Signature.from_bytes(message.source_tx))
        return None if told is None else "the first endpoint still tells of its transaction"
