"""Again from the overlay: numbers and intervals of what was issued, and the basket.

A registry's own issuance is known by its issuance id, which follows from where the output stands; so each is met
once, whatever became of it. What was issued with the node's key for devices that the registry does not have (by an
import, for one) has no numbers and no interval here. Private bundles are read from their own transactions, which no
topic has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from basket.keyring import Keyring
from certificates.ranges import Range, subtract
from certificates.token import Token, issuance_id_for
from config.errors import NotFound
from energytag.accounts import holder_of
from energytag.actions import Action
from energytag.compose import ANYONE, lock_for
from energytag.imports import ATTRIBUTE
from energytag.intervals import bridge_row, interval_row, is_bridges, series_key
from energytag.plan import Holder
from energytag.private import PRIVATE
from energytag.records import BASKET, DEVICES, INTERVALS, NUMBERS
from lookup.records import CERTIFICATES
from lookup.standing import Notices, notices_for
from overlay.envelope import parse_envelope
from overlay.outputs import load_outputs
from overlay.records import load_raws
from overlay.transaction import Transaction, outpoint, split_outpoint
from store.pages import pages
from store.port import Document, Find, Insert, Patch, Put, Store, Write
from topics.certificates import read_script

_MOST_WRITES: Final = 2000
_PAGE: Final = 500


@dataclass(slots=True)
class Number:
    """A row of `NUMBERS`: the next number, and a moment after which nothing was issued."""

    next: int = 1
    last_end_ms: int = 0

    def take(self, next_number: int, end_ms: int) -> None:
        self.next = max(self.next, next_number)
        self.last_end_ms = max(self.last_end_ms, end_ms)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Actions that were decided and are not all done: by the transactions that did some of them. Which of several
    has issued a bundle follows from its number: each has the numbers from its first on."""

    by_txid: Mapping[bytes, Sequence[Action]] = field(default_factory=dict)

    def issuer_of(self, txid: bytes, series: bytes, numbers: Range) -> str:
        """The id of the action, empty when it is none of these."""
        firsts = [
            (first, action.action_id)
            for action in self.by_txid.get(txid, ())
            if (first := numbers_of(action).get(series)) is not None and first <= numbers.start
        ]
        return max(firsts)[1] if firsts else ""


def numbers_of(action: Action) -> dict[bytes, int]:
    """By series the first number that an action has claimed."""
    claimed = {} if action.memo is None else action.memo.get("numbers", {})
    return {bytes.fromhex(key): first for key, first in claimed.items()}


class OverlayPass:
    """One pass over the records of certificates, into collections that are empty. `numbers` are where to begin:
    what unfinished actions have claimed is in no token yet."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        unfinished: Unfinished | None = None,
        numbers: Mapping[bytes, Number] | None = None,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._unfinished = unfinished or Unfinished()
        self._numbers = dict(numbers or {})
        self._holders: dict[str, Holder | None] = {}

    async def run(self, step: Callable[[int], None]) -> int:
        """Write it all; how many records were read. `step` is told how many at a time."""
        done = 0
        async for records in pages(self._store, CERTIFICATES):
            await self._store.commit(await self._writes_for([each for each in records if not each["unissued"]]))
            done += len(records)
            step(len(records))
        async for rows in pages(self._store, PRIVATE):
            await self._store.commit([write for row in rows for write in await self._private(row)])
        await commit_all(
            self._store,
            [
                Insert(NUMBERS, {"_id": key, "next": number.next, "last_end_ms": number.last_end_ms})
                for key, number in self._numbers.items()
            ],
        )
        return done

    async def _writes_for(self, records: Sequence[Document]) -> list[Write]:
        firsts = await self._first_inputs({record["_id"][:32] for record in records})
        writes = await self._issued([each for each in records if self._is_issuance(each, firsts)])
        for record in records:
            if record["live"]:
                first_input = firsts[record["_id"][:32]]
                writes += await self._held(record["_id"], record["account_id"], record["owner_key"], first_input)
        return writes

    async def _first_inputs(self, txids: Iterable[bytes]) -> dict[bytes, bytes]:
        raws = await load_raws(self._store, list(txids))
        return {txid: Transaction.parse(raw).inputs[0].outpoint for txid, raw in raws.items()}

    def _is_issuance(self, record: Document, firsts: Mapping[bytes, bytes]) -> bool:
        """Whether this very output is an issuance by this registry."""
        txid, index = split_outpoint(record["_id"])
        if record["issuer"] != self._keyring.identity:
            return False
        return issuance_id_for(firsts[txid], index) == str(record["issuance_id"])

    # Issued

    async def _issued(self, records: Sequence[Document]) -> list[Write]:
        devices = await self._store.get_many(DEVICES, list({record["device_id"] for record in records}))
        records = [record for record in records if record["device_id"] in devices]
        notices = await notices_for(records, self._store)
        outputs = await load_outputs(self._store, [record["_id"] for record in records])
        writes: list[Write] = []
        for key, output in outputs.items():
            token = read_script(output.script)
            if isinstance(token, Token) and ATTRIBUTE not in token.bundle.attributes:
                writes += self._guards(key[:32], token, notices)
        return writes

    def _guards(self, txid: bytes, token: Token, notices: Notices, action_id: str = "") -> list[Write]:
        """The numbers that an issuance took, and its interval, unless that is free again. What has an origin
        mirrors a token: its interval is the bridge's, whatever became of it."""
        tag, interval = token.bundle.attributes, token.bundle.period_ms
        series = series_key(str(tag["device_id"]), str(tag["energy_carrier"]))
        self._numbers.setdefault(series, Number()).take(token.issued.end + 1, interval[1])
        if token.origin is not None:
            return [Put(INTERVALS, bridge_row(series, interval))]
        withdrawn = withdrawn_quantity(token, notices)
        if withdrawn == token.issued.quantity:
            return []
        action_id = action_id or self._unfinished.issuer_of(txid, series, token.issued)
        row = interval_row(series, interval, token.issuance_id, token.issued, action_id)
        return [Put(INTERVALS, row | ({"withdrawn": withdrawn} if withdrawn else {}))]

    # Held

    async def _held(self, key: bytes, account_id: str, owner_key: bytes, first_input: bytes) -> list[Write]:
        """The basket's row of a live token that the node can unlock."""
        holder = await self._holder(account_id)
        if holder is None or not holder.is_custodial:
            return []
        _, index = split_outpoint(key)
        for is_open in (False, True):
            lock = lock_for(holder, first_input, index, self._keyring, is_open=is_open)
            if lock.owner_key == owner_key:
                sender = ANYONE if is_open else lock.sender
                row = {"_id": key, "account_id": holder.account_id, "key_id": lock.key_id, "sender": sender}
                return [Insert(BASKET, row)]
        return []

    async def _holder(self, account_id: str) -> Holder | None:
        if account_id not in self._holders:
            try:
                self._holders[account_id] = await holder_of(self._store, self._keyring, account_id)
            except NotFound:
                self._holders[account_id] = None
        return self._holders[account_id]

    # Some of it again, in a registry that is in use

    async def held_again(self, outpoints: Sequence[bytes]) -> list[Write]:
        """The basket's rows of these, as far as they are live, the node's to unlock, and not there."""
        records, rows = await self._store.get_each([(CERTIFICATES, outpoints), (BASKET, outpoints)])
        live = [record for key, record in records.items() if record["live"] and key not in rows]
        firsts = await self._first_inputs({record["_id"][:32] for record in live})
        writes: list[Write] = []
        for record in live:
            first_input = firsts[record["_id"][:32]]
            writes += await self._held(record["_id"], record["account_id"], record["owner_key"], first_input)
        return writes

    async def guarded_again(self, issuance_id: str) -> list[Write]:
        """The guard of an issuance of which less is withdrawn than was. Where the interval was issued anew
        meanwhile, that guard stays."""
        page = await self._store.find(CERTIFICATES, Find("issuance", {"issuance_id": issuance_id}, limit=_PAGE))
        firsts = await self._first_inputs({record["_id"][:32] for record in page.documents})
        guards = await self._issued([each for each in page.documents if self._is_issuance(each, firsts)])
        return [
            write for guard in guards if isinstance(guard, Put) for write in await self._guard_again(guard.document)
        ]

    async def _guard_again(self, guard: Document) -> list[Write]:
        known = await self._store.get(INTERVALS, guard["_id"])
        if known is None:
            return [Insert(INTERVALS, guard)]
        if is_bridges(known) or known["issuance_id"] != guard["issuance_id"]:
            return []
        expect = {"issuance_id": known["issuance_id"], "withdrawn": known.get("withdrawn")}
        return [Patch(INTERVALS, known["_id"], {"withdrawn": guard.get("withdrawn")}, expect)]

    # Private

    async def _private(self, row: Document) -> list[Write]:
        first_input = parse_envelope(row["beef"]).subject.inputs[0].outpoint
        writes: list[Write] = []
        for index, script in enumerate(row["scripts"]):
            token = read_script(script)
            if isinstance(token, Token):
                account_id, key = str(token.bundle.attributes["account_id"]), outpoint(row["txid"], index)
                writes += self._guards(row["txid"], token, {}, row["_id"])
                writes += await self._held(key, account_id, token.locking_key, first_input)
        return writes


async def commit_all(store: Store, writes: Sequence[Write]) -> None:
    """Commit in parts: there may be more than one commit should carry."""
    for start in range(0, len(writes), _MOST_WRITES):
        await store.commit(writes[start : start + _MOST_WRITES])


def withdrawn_quantity(token: Token, notices: Notices) -> int:
    """How many of an issuance's certificates its issuer has withdrawn."""
    own = [each.range for each in notices.get(token.issuance_id, ()) if each.issuer == token.issuer_key]
    return token.issued.quantity - sum(part.quantity for part in subtract([token.issued], own))
