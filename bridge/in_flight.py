"""A signed transaction on its way to Solana: stored before it is sent, and the same bytes sent again until it is
seen or provably cannot land. Who waits for it, readings or messages, is for those who have it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from solders.signature import Signature
from structlog.typing import FilteringBoundLogger

from bridge.records import AttemptState
from bridge.solana.rpc import SendRefused, SolanaRpc
from config.errors import Unavailable
from store.port import Document

_FIRST_PAUSE_MS: Final = 1_000
_LONGEST_PAUSE_MS: Final = 16_000


@dataclass(slots=True, eq=False, kw_only=True)
class InFlight:
    """`keys` are the ids of those that it is for, in its order; `slot` is where it was last seen, None while it is
    not; `refusal` is what preflight said of it last, None when it was taken."""

    signature: Signature
    raw: bytes
    keys: tuple[bytes, ...]
    last_valid_block_height: int
    state: AttemptState
    open_ms: int
    sends: int = 0
    slot: int | None = None
    refusal: Any = None
    is_confirmed: bool = False
    next_send_ms: int = 0
    _pause_ms: int = field(default=_FIRST_PAUSE_MS)

    @property
    def key(self) -> bytes:
        return bytes(self.signature)

    def sent(self, now_ms: int) -> None:
        """Count a send, and put off the next one."""
        self.sends += 1
        self.next_send_ms = now_ms + self._pause_ms
        self._pause_ms = min(self._pause_ms * 2, _LONGEST_PAUSE_MS)

    async def hand_in(self, rpc: SolanaRpc, log: FilteringBoundLogger) -> str:
        """Hand it in once: "sent", or "refused" by preflight, or "unanswered", both told to `log`. No answer means
        nothing, and a refusal is one node's opinion of one moment: neither ends it."""
        try:
            await rpc.send(self.raw)
        except SendRefused as refusal:
            self.refusal = refusal.error if refusal.error is not None else refusal.message
            log.warning("a transaction is refused", transaction=str(self.signature), error=self.refusal)
            return "refused"
        except Unavailable as error:
            log.warning("no answer to a transaction", transaction=str(self.signature), reason=error.message)
            return "unanswered"
        self.refusal = None
        return "sent"

    def is_to_be_sent(self, now_ms: int) -> bool:
        """Whether it is time to send it again; also after the clock went back."""
        return not 0 < self.next_send_ms - now_ms <= _LONGEST_PAUSE_MS

    def vanished(self) -> None:
        """It was seen and is no longer: its fork is gone. It is sent again at once."""
        self.slot, self.state, self.is_confirmed = None, AttemptState.SENT, False
        self.next_send_ms, self._pause_ms = 0, _FIRST_PAUSE_MS


def stored_fields(row: Document) -> dict[str, Any]:
    """What a stored row says of any transaction in flight, `keys` aside."""
    return {
        "signature": Signature.from_bytes(row["_id"]),
        "raw": row["raw"],
        "last_valid_block_height": row["last_valid_block_height"],
        "state": AttemptState(row["state"]),
        "open_ms": row["open_ms"],
        "sends": row["sends"],
        "slot": row["slot"],
        "refusal": row["error"],
    }
