"""How much of each incoming message is on BSV, and may come back: an exit takes from the message that its
certificate mirrors, and never more than is left of it, whoever issued the certificate.

A message becomes outstanding when it is RECEIPTED: its certificates are final then. An exit that is as deep as it
has to be may be earlier than that, by a moment; it waits. Before its certificates are issued nothing of a message
can come back: who claims so, with a copied origin, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from bridge.mirror.book import Page
from bridge.mirror.books.drafts import Drafts
from bridge.mirror.message import Message
from bridge.mirror.records import OUTSTANDING
from bridge.mirror.states import ON_ITS_WAY, Direction, State

_TO_BE_RECEIPTED: Final = (*ON_ITS_WAY, State.DST_FINAL)


@dataclass(frozen=True, slots=True)
class Overdrawn:
    """Why the books refuse an exit."""

    text: str


@dataclass(frozen=True, slots=True)
class NotYet:
    """The message that it mirrors is on its way to its end."""


Refusal: TypeAlias = Overdrawn | NotYet


class Outstanding:
    """The rows of `records.OUTSTANDING`: base units by message."""

    def __init__(self, drafts: Drafts) -> None:
        self._drafts = drafts

    async def put(self, origin: bytes, units: int, page: Page) -> None:
        """So much more of a message is on BSV."""
        left = await self._left(origin, page)
        await self._drafts.put(page, OUTSTANDING, origin, {"left": left + units})

    async def against(self, leaving: Message, origin: Message | None, page: Page) -> Refusal | None:
        """Why an exit cannot take what it is of from the message that it mirrors, as that is stored; None when it
        can."""
        if origin is None or origin.direction is not Direction.IN or origin.asset != leaving.asset:
            return Overdrawn("the books know no incoming message of the id that its origin names")
        if refusal := _against_issuance(leaving, origin):
            return refusal
        left = await self._left(origin.id, page)
        if left < leaving.units:
            return Overdrawn(f"of the message {origin.id.hex()} {left} base units are outstanding")
        return None

    async def take(self, origin: bytes, units: int, page: Page) -> None:
        """So much of a message leaves BSV, which nothing is against."""
        left = await self._left(origin, page)
        await self._drafts.put(page, OUTSTANDING, origin, {"left": left - units})

    async def _left(self, origin: bytes, page: Page) -> int:
        row = await self._drafts.get(page, OUTSTANDING, origin)
        return 0 if row is None else int(row["left"])


def _against_issuance(leaving: Message, origin: Message) -> Refusal | None:
    """Whether the message issued the certificate, and where it is."""
    if origin.is_refund or origin.state not in (*_TO_BE_RECEIPTED, State.RECEIPTED):
        return Overdrawn(f"the message {origin.id.hex()} is {origin.state.value}: it issued nothing")
    issued = {issuance for issuance, *_ in origin.facts.get("issuances", ())}
    if leaving.facts.get("issuance_id") not in issued:
        return Overdrawn(f"the message {origin.id.hex()} issued no such certificate")
    return None if origin.state is State.RECEIPTED else NotYet()
