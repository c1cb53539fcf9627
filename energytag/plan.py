"""What an action amounts to: pieces to put on chain, documents to write, a result to tell.

A handler plans; it reads, and changes nothing. The queue packs the pieces of many plans into transactions, and
commits with each transaction's admission what belongs to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from basket.funds import FundCoin
from certificates.bundle import Bundle
from certificates.document import Json
from certificates.ranges import Range
from certificates.token import Token
from energytag.actions import Action, Kind
from overlay.builder import Coin
from overlay.transaction import outpoint
from store.port import Document, Reader, Write


@dataclass(frozen=True, slots=True)
class Holder:
    """An account as the owner of tokens. `identity` is 33 bytes: the account's own derived key when it is
    custodial, else the identity key of the user's wallet."""

    account_id: str
    identity: bytes
    is_custodial: bool = True


@dataclass(frozen=True, slots=True)
class Lock:
    """How an output is locked: the owner key (33 bytes), its key ID, and who is the sender for BRC-42: the
    node's identity key, or b"anyone"."""

    owner_key: bytes
    key_id: str
    sender: bytes


@dataclass(frozen=True, slots=True)
class Holding:
    """A certificate that stands in an account, as a coin. `record` is that of `ls_metawatt`; `key_id` and
    `sender` are None when the node does not know how its lock was derived."""

    coin: Coin
    token: Token
    record: Document
    account_id: str
    key_id: str | None = None
    sender: bytes | None = None

    @property
    def outpoint(self) -> bytes:
        return outpoint(self.coin.txid, self.coin.index)


@dataclass(frozen=True, slots=True)
class Made:
    """A token that a transaction makes, where it stands, and how it is locked; `lock` is None for a notice and
    for an output that leaves the registry's accounts."""

    outpoint: bytes
    token: Token | None
    script: bytes
    holder: Holder | None = None
    lock: Lock | None = None


Recorder: TypeAlias = Callable[[Made], Sequence[Write]]
"""Writes that go along with an output, once it is known where it stands."""


@dataclass(frozen=True, slots=True)
class Issue:
    """A bundle to issue: a draft (`certificates.issuance`), and the numbers that it is to have. `origin` is the
    bridge message that it mirrors. The lock is `holder`'s, or the given `owner_key` of a party outside."""

    draft: Bundle
    issued: Range
    holder: Holder
    record: Recorder
    extras: Mapping[str, Json] = field(default_factory=dict)
    origin: Json = None
    owner_key: bytes = b""

    @property
    def outputs(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class Part:
    """One successor of a coin: `make` gives its token from the coin's token and the lock. The lock is
    `holder`'s, with counterparty `anyone` when `is_open` (so that everybody can check whose it is), or the
    given `owner_key` of a party outside."""

    make: Callable[[Token, Lock], Token]
    holder: Holder | None = None
    is_open: bool = False
    owner_key: bytes = b""


@dataclass(frozen=True, slots=True)
class Move:
    """A coin to spend, and the parts that take its place, which partition its range."""

    holding: Holding
    parts: tuple[Part, ...]

    @property
    def outputs(self) -> int:
        return len(self.parts)


@dataclass(frozen=True, slots=True)
class Notice:
    """A withdrawal notice by the issuer of `token`, for a part of what was issued."""

    token: Token
    part: Range
    reason: str
    reissued_as: str | None = None

    @property
    def outputs(self) -> int:
        return 1


Piece: TypeAlias = Issue | Move | Notice


@dataclass(frozen=True, slots=True)
class Ready:
    """A transaction that was signed before: its BEEF, the topics that it is offered to, how many certificate
    outputs it has, and the node's own change in it."""

    beef: bytes
    topics: Sequence[str]
    outputs: int
    change: FundCoin | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """`memo` must let the handler plan the same pieces again, in the same order, after a crash between two
    transactions of one action. `writes` go with the action's last commit. `decision` goes with its first:
    with the transaction when there is one, before all of them when there are several.

    `touches` are accounts whose holdings change. An `is_private` plan is signed and kept, not submitted. One
    with a transaction that is `ready` has no pieces.
    """

    pieces: Sequence[Piece] = ()
    writes: Sequence[Write] = ()
    decision: Sequence[Write] = ()
    memo: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    touches: frozenset[str] = frozenset()
    is_private: bool = False
    ready: Ready | None = None


@dataclass(slots=True)
class Scene:
    """What a plan is made in: the store as it is, the time, and what earlier plans of the same batch have
    taken. `taken` is for handlers: keys are theirs to choose, values what they like."""

    reader: Reader
    now_ms: int
    taken: dict[Any, Any] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)


class Handler(Protocol):
    """Plans one kind of action. `reads_holdings` tells that it chooses among an account's certificates, so
    that it has to wait for earlier actions which change them."""

    @property
    def reads_holdings(self) -> bool: ...

    async def plan(self, action: Action, scene: Scene) -> Plan:
        """The plan; a `MetawattError` that is the caller's fault rejects the action. When `action.memo` is set,
        the plan that gave this memo, again."""
        ...


Handlers: TypeAlias = Mapping[Kind, Handler]
