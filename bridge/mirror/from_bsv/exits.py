"""`ls_metawatt_bridge`: certificates that were locked to this bridge, from the very commit that admitted them.

What an admission shows of an exit goes two ways, both in the commit of the admission itself. A row of `EXITS`
answers questions; a reindex empties that collection and makes it anew. A row of `INBOX` becomes a message, and no
reindex touches it: the rows that it would write again are there, and are kept as they are.

An eviction takes both rows away, so that the message is woken when the transaction is admitted again. Whether a
message has been there before is not asked here: its id is the same. Nothing is read, so that it does not matter
whether a reindex is under way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from importlib.resources import files
from typing import Any, Final

import orjson

from bridge.mirror.from_bsv.query import Listing, Single, parse_query
from bridge.mirror.message import UNITS_PER_WH
from bridge.mirror.records import INBOX
from bridge.mirror.states import Direction
from certificates.lifecycle import Status
from certificates.rules import locked_to
from certificates.token import Token
from lookup.cursor import Position, decode_cursor, encode_cursor
from overlay.clock import NowMs
from overlay.lookup_service import (
    AdmissionMode,
    Event,
    Formula,
    Found,
    OutputAdmitted,
    OutputRemoved,
    OutputSpent,
    OutputUnspent,
    Question,
    SpendMode,
)
from overlay.topic import Metadata
from overlay.transaction import split_outpoint
from store.port import Collection, Delete, Document, Find, Index, Insert, Patch, Reader, Write
from topics.certificates import read_script
from topics.keychain import Keychain
from topics.names import CERTIFICATES

NAME: Final = "ls_metawatt_bridge"
VERSION: Final = "1.0.0"
MOST_ADDRESS: Final = 128
"""Characters of an address that are kept; a wallet's has 44 at most, so that what is longer is none."""
MOST_UNITS: Final = 2**63 - 1
"""Units of a message at most. A certificate of more energy than that is held for a person."""


class ExitState(StrEnum):
    """What became of the lock, as the chain has it."""

    LOCKED = "locked"
    RELEASED = "released"
    """The certificate was withdrawn: its energy is a token."""
    REFUNDED = "refunded"
    """The certificate is Active again."""
    LOST = "lost"
    """It was spent without a valid successor."""


EXITS: Final = Collection(
    "bridge_exits",
    key="bytes",
    fields={"seq": "int", "state": "text", "address": "text"},
    indexes=(
        Index("seq", ("seq",)),
        Index("state", ("state", "seq")),
        Index("address", ("address", "seq")),
        Index("address_state", ("address", "state", "seq")),
    ),
    family="txid",
)
"""Key: the outpoint. `seq` as the engine counts, `state`, `address`, and `spent_by`, the txid that ended the lock,
or None."""

_KEYS: Final = Keychain()
_LOCKED: Final = {"state": ExitState.LOCKED.value, "spent_by": None}


def exit_of(script: bytes, identity: bytes) -> Token | None:
    """The certificate that a script holds, when it is locked to this bridge's identity key."""
    token = read_script(script)
    if not isinstance(token, Token) or token.bundle.status is not Status.LOCKED or type(token.exit) is not dict:
        return None
    return token if locked_to(token, identity, token.exit.get("key_id"), _KEYS) else None


def leaving_of(token: Token) -> Mapping[str, Any]:
    """What a certificate says of its leaving (`exit`), whoever wrote it; empty where it is nothing of the kind."""
    return token.exit if type(token.exit) is dict else {}


def address_of(token: Token) -> str:
    """`exit.address` as it was written, or the beginning of it."""
    address = leaving_of(token).get("address")
    return address[:MOST_ADDRESS] if type(address) is str else ""


def units_of(token: Token) -> int:
    """Base units that the certificate's energy is, at most `MOST_UNITS`."""
    return min(token.bundle.energy_wh * UNITS_PER_WH, MOST_UNITS)


class ExitIndex:
    """The lookup service. `identity` is the bridge's identity key, 33 B. To be hosted by every process that admits
    transactions, with `INBOX` among the store's collections."""

    name = NAME
    admission_mode = AdmissionMode.LOCKING_SCRIPT
    spend_mode = SpendMode.WHOLE_TX
    wants_proofs = False
    metadata = Metadata(NAME, "Certificates that were locked to this node's bridge.", version=VERSION)

    def __init__(self, identity: bytes, now_ms: NowMs) -> None:
        self._identity = identity
        self._now_ms = now_ms

    @property
    def collections(self) -> tuple[Collection, ...]:
        """Not the inbox: a reindex would make everything cross its books again."""
        return (EXITS,)

    @cached_property
    def documentation(self) -> str:
        return (
            files("bridge")
            .joinpath("mirror/from_bsv/exits.md")
            .read_text("utf-8")
            .replace("{key}", self._identity.hex())
        )

    def serves(self, topic: str) -> bool:
        """The topic of every certificate: each output is told of there, and once."""
        return topic == CERTIFICATES

    async def writes_for(self, event: Event, reader: Reader) -> Sequence[Write]:
        match event:
            case OutputAdmitted():
                return self._admitted(event)
            case OutputSpent():
                return self._spent(event)
            case OutputUnspent():
                return self._unspent(event)
            case OutputRemoved(evicted=True):
                return (Delete(EXITS, event.ref.outpoint), Delete(INBOX, event.ref.outpoint))
        return ()

    def _admitted(self, event: OutputAdmitted) -> Sequence[Write]:
        token = exit_of(event.script, self._identity)
        if token is None:
            return ()
        told = {"address": address_of(token), "issuance_id": token.issuance_id, "units": units_of(token)}
        key = {"_id": event.ref.outpoint}
        return (
            Insert(EXITS, {**key, "seq": event.ref.seq, **_LOCKED, "address": told["address"]}, keep=True),
            Insert(INBOX, {**key, **self._awake(), **told}, keep=True),
        )

    def _awake(self) -> Document:
        return {"lane": Direction.OUT.value, "at_ms": self._now_ms()}

    def _spent(self, event: OutputSpent) -> Sequence[Write]:
        token = exit_of(event.coin_script, self._identity)
        if token is None:
            return ()
        changes = {"state": _became(event, token).value, "spent_by": event.spending_txid}
        return (Patch(EXITS, event.ref.outpoint, changes, must_exist=False),)

    def _unspent(self, event: OutputUnspent) -> Sequence[Write]:
        """What had ended it is gone: a message given up for it is woken. Other outputs have no row."""
        outpoint = event.ref.outpoint
        return (
            Patch(EXITS, outpoint, _LOCKED, must_exist=False),
            Patch(INBOX, outpoint, self._awake(), must_exist=False),
        )

    async def lookup(self, question: Question, reader: Reader) -> Formula:
        """A formula of outpoints; `exits.md` is the manual. Contexts are JSON: `state`, `spent_by`."""
        match parse_query(question.query, list(ExitState)):
            case Single(outpoint):
                row = await reader.get(EXITS, outpoint)
                return Formula([] if row is None else [_found(row)])
            case Listing() as listing:
                return await _list(listing, reader)


async def _list(listing: Listing, reader: Reader) -> Formula:
    after = None if listing.cursor is None else decode_cursor(listing.cursor, listing.digest)
    find = Find(
        "_".join(listing.equals) or "seq", listing.equals, descending=True, limit=listing.limit, after=after
    )
    page = await reader.find(EXITS, find)
    cursor = None
    if page.last is not None:
        last = page.documents[-1]
        cursor = encode_cursor(Position(last["seq"], last["_id"]), listing.digest)
    return Formula([_found(each) for each in page.documents], cursor)


def _found(row: Document) -> Found:
    told: dict[str, Any] = {"state": row["state"]}
    if row["spent_by"] is not None:
        told["spent_by"] = row["spent_by"][::-1].hex()
    return Found(*split_outpoint(row["_id"]), context=orjson.dumps(told))


def _became(event: OutputSpent, coin: Token) -> ExitState:
    """By the successors of this coin's range that the topic admits."""
    outputs = () if event.transaction is None else event.transaction.outputs
    contents = (read_script(outputs[index].script) for index in event.successors if index < len(outputs))
    statuses = {each.bundle.status for each in contents if isinstance(each, Token) and _is_part(each, coin)}
    if not statuses:
        return ExitState.LOST
    return ExitState.RELEASED if statuses == {Status.WITHDRAWN} else ExitState.REFUNDED


def _is_part(token: Token, coin: Token) -> bool:
    return token.issuance_id == coin.issuance_id and token.bundle.range.overlaps(coin.bundle.range)
