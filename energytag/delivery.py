"""How certificates come to users' own wallets: as outputs that BRC-100's internalizeAction takes.

A row is written in the commit that makes the output, and stays: it tells how the output is unlocked. Until the
user's side has acknowledged it, the output is handed out to whoever asks for the account, and pushed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from certificates.token import OWNER_PROTOCOL, Token
from energytag.compose import ANYONE
from energytag.plan import Made
from lookup.cursor import DIGEST_BYTES, Position, decode_cursor, encode_cursor
from overlay.clock import NowMs
from overlay.clock import Sequence as Numbers
from overlay.hydrate import Kept, load_kept, ordered
from overlay.keys import Counterparty
from overlay.records import SPENDS
from overlay.transaction import Transaction, split_outpoint
from overlay.wire import write_beef
from store.port import Collection, Document, Find, Index, Insert, Patch, Store, Write

BASKET_NAME: Final = "metawatts"
"""METAWATTS as wallets keep it: names of baskets are read in lower case. wallet-toolbox puts what it internalizes
under the name as it is given, and so would not find it again under capitals."""
MOST_IN_PAGE: Final = 100
MOST_ACKNOWLEDGED: Final = 1000
_DESCRIPTION: Final = "Granular certificates from METAWATT"

DELIVERIES: Final = Collection(
    "basket_deliveries",
    key="bytes",
    fields={"waits_for": "text", "seq": "int", "due_ms": "int", "attempts": "int"},
    indexes=(
        Index("waiting", ("waits_for", "seq"), partial=True),
        Index("due", ("due_ms",), partial=True),
    ),
)
"""Key: outpoint. `account_id`, `key_id`, `sender` (33 bytes, or b"anyone") and `tags`. `waits_for` is the account
until the output is acknowledged or found spent; `due_ms` is when it is pushed next, None when it is not."""


class Deliveries:
    """Writes the rows of outputs that go to users' own wallets. One for a process."""

    def __init__(self, now_ms: NowMs) -> None:
        self._now_ms = now_ms
        self._numbers = Numbers(now_ms)

    def writes_for(self, made: Made) -> list[Write]:
        """What joins the commit that makes the output; nothing for one that no wallet is to get."""
        if made.holder is None or made.lock is None or made.token is None or made.holder.is_custodial:
            return []
        row = {
            "_id": made.outpoint,
            "account_id": made.holder.account_id,
            "waits_for": made.holder.account_id,
            "seq": self._numbers.next(),
            "due_ms": self._now_ms(),
            "attempts": 0,
            "key_id": made.lock.key_id,
            "sender": made.lock.sender,
            "tags": _tags(made.token),
        }
        return [Insert(DELIVERIES, row)]


def _tags(token: Token) -> list[str]:
    """What a wallet can look its certificates up by."""
    attributes = token.bundle.attributes
    return [token.issuance_id, str(attributes["energy_source"]), f"device {attributes['device_id']}"]


@dataclass(frozen=True, slots=True)
class Parcel:
    """Outputs of one transaction for one account: rows of `DELIVERIES`, and the transaction as Atomic BEEF."""

    account_id: str
    rows: tuple[Document, ...]
    beef: bytes

    @property
    def outpoints(self) -> list[bytes]:
        return [row["_id"] for row in self.rows]

    def as_json(self) -> dict[str, Any]:
        """Arguments of BRC-100's internalizeAction."""
        return {
            "tx": list(self.beef),
            "outputs": [_output(row) for row in self.rows],
            "description": _DESCRIPTION,
        }


def _output(row: Document) -> dict[str, Any]:
    remittance = {
        "basket": BASKET_NAME,
        "customInstructions": instructions(row["key_id"], row["sender"]),
        "tags": row["tags"],
    }
    index = split_outpoint(row["_id"])[1]
    return {"outputIndex": index, "protocol": "basket insertion", "insertionRemittance": remittance}


def instructions(key_id: str, sender: bytes) -> str:
    """The custom instructions of a token in a wallet's basket: how its owner unlocks it."""
    level, name = OWNER_PROTOCOL
    text = {"protocolID": [level, name], "keyID": key_id, "counterparty": counterparty_of(sender)}
    return orjson.dumps(text).decode()


def counterparty_of(sender: bytes) -> str:
    """A sender as BRC-100 names counterparties."""
    return "anyone" if sender == ANYONE else sender.hex()


def key_of_counterparty(name: str) -> Counterparty:
    """The other way round."""
    return "anyone" if name == "anyone" else bytes.fromhex(name)


async def parcels_of(store: Store, rows: Sequence[Document]) -> list[Parcel]:
    """The rows packed by account and transaction, in their order. An output that is spent is left out, and not
    waited for any longer; one whose transaction was evicted is left out."""
    spends = await store.get_many(SPENDS, [row["_id"] for row in rows])
    if spends:
        await settle(store, [row["_id"] for row in rows if row["_id"] in spends])
    grouped: dict[tuple[str, bytes], list[Document]] = {}
    for row in rows:
        if row["_id"] not in spends:
            grouped.setdefault((row["account_id"], row["_id"][:32]), []).append(row)
    kept = await load_kept(store, {txid for _, txid in grouped})
    return [
        Parcel(account_id, tuple(group), atomic_beef(kept, txid))
        for (account_id, txid), group in grouped.items()
        if txid in kept
    ]


def atomic_beef(kept: Mapping[bytes, Kept], txid: bytes) -> bytes:
    """A transaction with all that proves it."""
    entries = [(Transaction.parse(entry.raw), entry.bump) for entry in ordered(kept, [txid])]
    return write_beef(entries, atomic_txid=txid)


async def settle(store: Store, outpoints: Sequence[bytes]) -> None:
    """These outputs are not waited for any longer."""
    done = {"waits_for": None, "due_ms": None}
    await store.commit([Patch(DELIVERIES, key, done, must_exist=False) for key in outpoints])


async def pull(
    store: Store, account_id: str, limit: int, cursor: str | None = None
) -> tuple[list[Parcel], str | None]:
    """What waits for an account, oldest first, at most `limit` outputs; and the cursor of what follows.
    `BadRequest(BAD_CURSOR)` for another's."""
    digest = _digest(account_id)
    position = None if cursor is None else decode_cursor(cursor, digest)
    after = None if position is None else (position.value, position.outpoint)
    find = Find("waiting", {"waits_for": account_id}, limit=min(limit, MOST_IN_PAGE), after=after)
    page = await store.find(DELIVERIES, find)
    parcels = await parcels_of(store, page.documents)
    if page.last is None:
        return parcels, None
    last = page.documents[-1]
    return parcels, encode_cursor(Position(last["seq"], last["_id"]), digest)


async def acknowledge(store: Store, account_id: str, outpoints: Sequence[bytes]) -> int:
    """The account's wallet has these; how many of them had been waited for. Others are passed over."""
    rows = await store.get_many(DELIVERIES, list(outpoints))
    waiting = [row["_id"] for row in rows.values() if row["waits_for"] == account_id]
    await settle(store, waiting)
    return len(waiting)


def _digest(account_id: str) -> bytes:
    return sha256(f"deliveries {account_id}".encode()).digest()[:DIGEST_BYTES]
