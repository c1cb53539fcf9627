"""What the parts of the mirror ask of each other. Each part is handed messages, decides, and writes through the
book.

    lane in    inbox → SolanaSource → accounting → BsvDestination (issues)      held → SolanaDestination (refunds)
    lane out   inbox → BsvSource    → accounting → SolanaDestination (releases) held → BsvDestination (refunds)

A lane (`lane.py`) loads what is due and hands it to the part that its state asks for, all messages of one state at
once, so that many go into one commit and one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bridge.mirror.book import Page
from bridge.mirror.message import Message
from store.port import Document, Write


class Source(Protocol):
    """One chain as the source of messages."""

    async def wake(self) -> int:
        """Make due what was put off until the chain had moved, and the chain has; how many messages. Asked before
        every round, so it costs nothing while nothing has happened."""
        ...

    async def observed(self, rows: Sequence[Document]) -> list[Message]:
        """Messages of rows of the inbox, in the same order: state OBSERVED, not stored. A row that is no message of
        this bridge never came into the inbox; one that is faulty becomes a message all the same, and is held later,
        so that nothing is silently lost."""
        ...

    async def settle(self, messages: Sequence[Message], page: Page) -> None:
        """OBSERVED → SRC_FINAL | SRC_ORPHANED | HELD, or put off until it may be final."""
        ...

    async def validate(self, messages: Sequence[Message], page: Page) -> None:
        """SRC_FINAL → VALIDATED | HELD."""
        ...

    async def check_still_final(self, messages: Sequence[Message], page: Page) -> list[Message]:
        """Of messages that are about to be delivered (no refunds), those whose source is what it was when it became
        final. The others are HELD, or put off."""
        ...


class Accounting(Protocol):
    """The books: what may cross, and when."""

    async def account(self, messages: Sequence[Message], page: Page) -> None:
        """VALIDATED, QUEUED → ACCOUNTED | QUEUED | HELD, or put off (paused)."""
        ...

    async def refund(self, message: Message, page: Page) -> None:
        """HELD → REFUND_ACCOUNTED: what was entered is taken back. `BadRequest(STATUS_FORBIDS)` where a transaction
        of the destination may have landed."""
        ...

    async def ended(self, messages: Sequence[Message], page: Page) -> None:
        """Energy has arrived at its destination, or is back; called with the page that writes RECEIPTED, REFUNDED,
        before the step: what the books write with it."""
        ...


class Destination(Protocol):
    """One chain as the destination of messages, and of refunds of what came from it."""

    async def deliver(self, messages: Sequence[Message]) -> None:
        """ACCOUNTED, REFUND_ACCOUNTED, DST_EXPIRED → DST_SIGNED → DST_SENT, by transactions of as many messages as
        fit. Never raises for one message's fault: it is HELD."""
        ...

    async def follow(self) -> int:
        """What became of all transactions on their way: DST_SENT ⇄ DST_SEEN → DST_FINAL, or DST_EXPIRED, or HELD;
        how many messages moved."""
        ...

    async def complete(self, messages: Sequence[Message]) -> None:
        """DST_FINAL → RECEIPTED | REFUNDED, with the receipt, in the commit that does what is left to do: of an
        exit, the certificate's withdrawal."""
        ...


class Provenance(Protocol):
    """Which readings' energy a deposit is of."""

    async def allocate(self, messages: Sequence[Message], page: Page) -> list[Message]:
        """Draw lots for messages, first in first out, with the writes that take them; those that got theirs, with
        `facts["lots"]`, which the step to ACCOUNTED has to name among its facts. The others are HELD, or put off
        while more may come."""
        ...

    async def released(self, messages: Sequence[Message], page: Page) -> None:
        """Messages that are REFUNDED with this page: their lots go back to where they were in line."""
        ...

    async def returned(self, message: Message) -> list[Write]:
        """Energy that is a token again: a lot, whose place in line is `facts["slot"]`, for the commit of an exit's
        completion."""
        ...


class Receipts(Protocol):
    """Proofs of crossings that ended."""

    async def write(self, message: Message) -> Write:
        """The receipt of a message whose both sides are final. Raises `Unavailable` when a chain does not tell."""
        ...
