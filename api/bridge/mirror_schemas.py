"""The mirror's bodies: what people ask of it, and what it answers."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from bridge.meters.looking import Paged
from bridge.mirror.alarms import Alarm
from bridge.mirror.operators.commands import MOST_BY_CHARACTERS, MOST_REASON_CHARACTERS
from bridge.mirror.states import Direction, Hold, Kind, State
from energytag.models.common import Model, Reply, Uuid

_KEY: Final = r"^0[23][0-9a-fA-F]{64}$"
_DIRECTION: Final = "`in` is from Solana to BSV, `out` from BSV to Solana."

Identity = Annotated[str, Field(pattern=_KEY)]
Words = Annotated[str, Field(min_length=1, max_length=MOST_REASON_CHARACTERS)]
Who = Annotated[str, Field(min_length=1, max_length=MOST_BY_CHARACTERS)]

# Asked


class MessagesQuestion(Paged):
    """Messages, the newest first."""

    state: State | None = Field(None, description="Only those in this state.")
    direction: Direction | None = Field(None, description=f"Only those of this direction. {_DIRECTION}")


class SearchQuestion(Model):
    """By one of these."""

    signature: Annotated[str, Field(max_length=88)] | None = Field(
        None, description="A transaction on Solana, base58: a deposit, a release, or a refund."
    )
    txid: Annotated[str, Field(min_length=64, max_length=64)] | None = Field(
        None, description="A transaction on BSV, hex: a lock to the bridge, an issuance, a withdrawal, or a refund."
    )
    outpoint: Annotated[str, Field(max_length=80)] | None = Field(
        None, description="`<txid>.<output index>`: a certificate locked to the bridge, or issued by it."
    )

    @model_validator(mode="after")
    def _one(self) -> SearchQuestion:
        if sum(each is not None for each in (self.signature, self.txid, self.outpoint)) != 1:
            raise ValueError("give one of signature, txid and outpoint")
        return self


class QuoteQuestion(Model):
    """A crossing that somebody thinks of."""

    direction: Direction = Field(description=_DIRECTION)
    wh: Annotated[int, Field(ge=1, le=2**53 - 1)] = Field(description="Energy in Wh; 1 is the least that crosses.")


class DepositQuestion(Model):
    """Who is to get the certificates: one of both."""

    account_id: Uuid | None = Field(None, description="An account of this registry.")
    identity_key: Identity | None = Field(None, description="Anybody's identity key on BSV, 66 hex digits.")

    @model_validator(mode="after")
    def _one_of_both(self) -> DepositQuestion:
        if (self.account_id is None) == (self.identity_key is None):
            raise ValueError("either account_id or identity_key must be given")
        return self


class LogQuestion(Model):
    """The log from an entry on."""

    limit: Annotated[int, Field(ge=1, le=1000)] = Field(100, description="Most entries of a page.")
    cursor: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = Field(
        None, description="What the page before gave: the number of its last entry. Left out: from the first on."
    )


class EventsQuestion(Model):
    after: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = Field(
        None, description="Begin after this entry of the log, as with `Last-Event-ID`; 0 for all there ever was."
    )


class PageQuestion(Model):
    every: Annotated[int, Field(ge=2, le=3600)] | None = Field(
        None, description="Have the browser ask again after so many seconds."
    )


class Order(Model):
    """What an operator wants, and stands for; both go into the log."""

    by: Who = Field(description="Who it is that asks.")
    reason: Words = Field(description="Why.")


class PauseOrder(Order):
    direction: Direction = Field(description=_DIRECTION)


class ResumeOrder(PauseOrder):
    even_breached: Annotated[bool, Field(strict=True)] = Field(
        False, description="Go on although parity is breached; else that is refused."
    )


# Answered


class ReasonShown(Reply):
    code: Hold
    text: str | None = Field(description="Null where an operator's words are for operators alone.")


class SourceShown(Reply):
    """Where the energy was before."""

    chain: str = Field(description="`solana` or `bsv`.")
    transaction: str = Field(description="Signature, base58; or txid, hex.")
    event: str = Field(description="The instruction (`outer.inner.batch`), or the outpoint (`txid.index`).")


class DestinationShown(Reply):
    """Where it goes; of a refund, back to the source's chain."""

    chain: str
    transaction: str | None = Field(description="The newest that was signed for it.")


class CertificateShown(Reply):
    issuance_id: str
    outpoint: str
    wh: int


class MessageShown(Reply):
    """A crossing, as both chains tell anybody of it."""

    message_id: str
    direction: Direction
    kind: Kind
    state: State
    wh: int
    units: str = Field(description="Base units of the token, as a decimal number.")
    asset: str = Field(description="The mint, base58.")
    source: SourceShown
    destination: DestinationShown
    recipient: str = Field(description="As the sender wrote it: an account's id, an identity key, or a wallet.")
    is_refund: bool
    attempts: int = Field(description="Transactions of the destination that were signed for it.")
    reason: ReasonShown | None = Field(description="Why it is held, or cannot be completed.")
    certificates: list[CertificateShown] = Field(description="Those that were issued for it.")
    marker: str | None = Field(description="The account on Solana that keeps it from being paid twice.")
    withdrawal: str | None = Field(description="Txid of the transaction that withdrew the exit's certificate.")
    created_at: str
    final_at: str | None = Field(description="When its source was final.")
    sent_at: str | None = Field(description="When the destination was sent it.")
    ended_at: str | None
    receipt: str | None = Field(description="Where its receipt is; null until it has ended.")


class MessagesShown(Reply):
    """A page. It may have fewer entries than asked for, and still a cursor."""

    messages: list[MessageShown]
    cursor: str | None = None


class FoundShown(Reply):
    messages: list[MessageShown]
    is_complete: bool = Field(description="False where more came of it than are listed.")


class OperatorsMessage(MessageShown):
    """With what the node has learnt on the way: readings, lots, accounts."""

    facts: dict[str, Any]
    version: int
    log_entries: list[int] = Field(description="The log's entries that tell of it, the newest of them.")
    due_at: str | None = Field(description="When it is looked at next; null while nothing is to be done.")


class HeadroomShown(Reply):
    """What may cross now in one direction; null where there is no limit."""

    limit_wh: int | None = Field(description="Per window.")
    left_wh: int | None = Field(description="What is left of it now.")
    waiting_wh: int = Field(description="What waits for the limit already.")
    window_secs: int | None = Field(description="In which the limit is refilled.")


class WayShown(Reply):
    """One direction."""

    direction: Direction
    is_paused: bool
    paused_at: str | None
    open_messages: int
    open_wh: int
    states: dict[str, int] = Field(description="Open messages by state.")
    oldest_secs: float = Field(description="Age of the oldest that is neither ended nor held.")
    headroom: HeadroomShown


class AlarmShown(Reply):
    """Something that a person has to look at, and that stands."""

    alarm: Alarm
    subject: str = Field(description="An asset, a message, a transaction or an address.")
    at: str


class ParityShown(Reply):
    """Both chains at one moment, and what is between them. `units` and `wh` have `custody`, `burned`, `minted`,
    `live`, `in_flight_in`, `in_flight_out`, `held`, the sums `tokens` and `accounted_for`, their `difference`."""

    is_exact: bool
    verdict: str
    at: str
    mode: Literal["lock", "burn"]
    slot: int = Field(description="Of Solana, final.")
    height: int = Field(description="Of BSV.")
    log_entries: int = Field(description="How far the log was read.")
    units: dict[str, str] = Field(description="Base units of the token, as decimal numbers.")
    wh: dict[str, int] = Field(description="The same in whole Wh, rounded down.")
    coins_wh: int = Field(description="Mirrored certificates that are not Withdrawn.")
    supply_units: str = Field(description="Of the mint.")
    findings: list[str] = Field(description="Where the ledger differs from the chains.")


class OverviewShown(Reply):
    """The mirror at this moment."""

    is_connected: bool
    trouble: str | None
    mint: str | None
    mode: str
    directions: list[WayShown]
    alarms: list[AlarmShown]
    parity: ParityShown | None = Field(description="Null while it cannot be told.")
    log_entries: int


class PauseShown(Reply):
    reason: str
    by: str
    at: str


class FeesShown(Reply):
    """All of it is paid by the bridge; a holder pays the network for the transaction that he sends himself."""

    bridge_wh: int = Field(description="Energy that the bridge keeps: none.")
    lamports: int = Field(description="What the bridge spends on Solana, at most.")
    satoshis: int = Field(description="What the bridge spends on BSV, about.")


class DelayShown(Reply):
    """Estimates in seconds, but for `confirmations`."""

    source_secs: int = Field(description="Until the source is final.")
    wait_secs: int = Field(description="Then, by the limits and the delay of large messages, if nothing else came.")
    confirmations: int = Field(
        description="Blocks on BSV: of an exit before tokens go out, else until the receipt."
    )
    arrival_secs: int = Field(description="Until the destination is sent it, in all.")


class QuoteShown(Reply):
    """What a crossing takes, and how it is asked for."""

    direction: Direction
    wh: int
    least_wh: int
    is_paused: bool
    is_large: bool
    fits_now: bool
    fees: FeesShown
    delay: DelayShown
    headroom: HeadroomShown
    how: dict[str, Any] = Field(
        description="`in`: the memo, and where tokens go. `out`: the key to lock certificates to, and `exit`."
    )


class DepositShown(Reply):
    """How tokens are sent to become certificates."""

    genesis_hash: str
    mint: str
    token_program: str
    decimals: int
    mode: str = Field(description="`lock`: transfer to the custody account. `burn`: burn the tokens instead.")
    custody_wallet: str
    custody_account: str | None = Field(
        description="The token account to transfer to; null where tokens are burned."
    )
    memo: str = Field(description="For the Memo program, in the same transaction.")
    units_per_wh: int
    least_units: int = Field(description="Less is held; so is what is no multiple of it.")


class LogEntry(Reply):
    number: int
    hash: str
    entry: dict[str, Any]


class LogShown(Reply):
    entries: list[LogEntry]
    cursor: int | None = None


class PausesShown(Reply):
    """By direction, those that are paused."""

    paused: dict[str, PauseShown]


class OrderShown(Reply):
    """What came of an order: beside these, what it changed (`direction` and `paused`, or `message` and
    `message_state`)."""

    command: str = Field(description="Its id, for `GET /api/admin/bridge/orders/{command}`.")
    state: Literal["done", "open"] = Field(description="`open` while nobody has carried it out yet.")
