"""The blocks on disk: written a slot at a time, in one commit, and read again at a start."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from solders.account import Account
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import ID as SYSTEM

from bridge.cluster.executed import Executed
from bridge.cluster.packing import packed, unpacked
from bridge.cluster.records import (
    ACCOUNTS,
    ADDRESSES,
    BLOCKS,
    CLUSTER_COLLECTIONS,
    HEADER,
    SKIPPED,
    TRANSACTIONS,
    address_key,
    position_of,
)
from store.port import Collection, Delete, Document, Find, Insert, Put, Store, Write

FAUCET_LAMPORTS: Final = 500_000_000 * 10**9

_CHAIN: Final = "chain"
_PAGE: Final = 1000
_ADDRESS_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Header:
    """See `records.HEADER`."""

    genesis: Hash
    genesis_secs: int
    faucet: Keypair
    reserved: int
    root: int
    first_available: int
    transactions: int

    def write(self) -> Write:
        return Put(HEADER, {"_id": _CHAIN, **self._fields()})

    def _fields(self) -> Document:
        return {
            "genesis": bytes(self.genesis),
            "genesis_secs": self.genesis_secs,
            "faucet": self.faucet.secret(),
            "reserved": self.reserved,
            "root": self.root,
            "first_available": self.first_available,
            "transactions": self.transactions,
        }


def _read_header(document: Document) -> Header:
    return Header(
        genesis=Hash(document["genesis"]),
        genesis_secs=document["genesis_secs"],
        faucet=Keypair.from_seed(document["faucet"]),
        reserved=document["reserved"],
        root=document["root"],
        first_available=document["first_available"],
        transactions=document["transactions"],
    )


class Journal:
    """Reads and writes of the cluster's store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def open(self) -> Header | None:
        """Open the store; the header, None at the very first start."""
        await self._store.open(CLUSTER_COLLECTIONS)
        document = await self._store.get(HEADER, _CHAIN)
        return None if document is None else _read_header(document)

    async def close(self) -> None:
        await self._store.close()

    async def begin(self, now_secs: int) -> Header:
        """Draw a genesis hash, fund a faucet, and store both."""
        header = Header(Hash(secrets.token_bytes(32)), now_secs, Keypair(), 0, 0, 0, 0)
        funded = {header.faucet.pubkey(): Account(FAUCET_LAMPORTS, b"", SYSTEM)}
        await self._store.commit([*account_writes(funded), header.write()])
        return header

    async def commit(self, writes: Sequence[Write]) -> None:
        await self._store.commit(writes)

    async def skipped(self) -> list[tuple[int, int]]:
        """Ranges without a block, in order."""
        return [(document["_id"], document["last"]) async for document in self._walk(SKIPPED, Find(limit=_PAGE))]

    async def accounts(self) -> AsyncIterator[tuple[Pubkey, Account]]:
        """Every account at the root."""
        async for document in self._walk(ACCOUNTS, Find(limit=_PAGE)):
            yield Pubkey(document["_id"]), Account.from_bytes(document["state"])

    async def landed(self, first: int, last: int | None = None) -> AsyncIterator[Executed]:
        """The transactions of the blocks from `first` to `last` (both included), in order."""
        upper = None if last is None else position_of(last + 1)
        find = Find("position", lower=position_of(first), upper=upper, limit=_PAGE)
        async for document in self._walk(TRANSACTIONS, find):
            yield unpacked(document["body"])

    async def executed(self, signatures: Sequence[Signature]) -> dict[Signature, Executed]:
        """Those that are stored."""
        found = await self._store.get_many(TRANSACTIONS, [bytes(signature) for signature in signatures])
        records = (unpacked(document["body"]) for document in found.values())
        return {record.signature: record for record in records}

    async def signatures_of(self, address: Pubkey, first: int, last: int) -> AsyncIterator[list[Signature]]:
        """An address's transactions from the block of `last` down to that of `first`, newest first, a block's
        at a time."""
        prefix = bytes(address)
        lower, upper = address_key(prefix, first), address_key(prefix, last + 1)
        find = Find(lower=lower, upper=upper, descending=True, limit=_ADDRESS_PAGE)
        async for document in self._walk(ADDRESSES, find):
            yield list(reversed(_split(document["signatures"])))

    async def block_time(self, slot: int) -> int | None:
        """When the newest block up to `slot` that has transactions was opened; epoch seconds."""
        page = await self._store.find(BLOCKS, Find(upper=slot + 1, descending=True, limit=1))
        return page.documents[0]["time"] if page.documents else None

    async def prune(self, first: int, before: int) -> None:
        """Forget the transactions of the blocks from `first` up to `before` (not included)."""
        writes: list[Write] = []
        async for executed in self.landed(first, before - 1):
            writes += taken_out([executed])
            if len(writes) >= _PAGE:
                await self._store.commit(writes)
                writes = []
        if writes:
            await self._store.commit(writes)

    async def _walk(self, collection: Collection, find: Find) -> AsyncIterator[Document]:
        while True:
            page = await self._store.find(collection, find)
            for document in page.documents:
                yield document
            if page.last is None:
                return
            find = replace(find, after=page.last)


def _split(joined: bytes) -> list[Signature]:
    return [Signature(joined[at : at + Signature.LENGTH]) for at in range(0, len(joined), Signature.LENGTH)]


def account_writes(accounts: Mapping[Pubkey, Account | None]) -> list[Write]:
    """Accounts as they are at the root; None is one that does not exist any more."""
    return [
        Delete(ACCOUNTS, bytes(address))
        if account is None
        else Put(ACCOUNTS, {"_id": bytes(address), "state": bytes(account)})
        for address, account in accounts.items()
    ]


def block_writes(landed: Sequence[Executed]) -> list[Write]:
    """A block that has transactions, with the history of the addresses that they name."""
    writes: list[Write] = [Insert(BLOCKS, {"_id": landed[0].slot, "time": landed[0].block_time})]
    by_address: dict[Pubkey, list[bytes]] = {}
    for each in landed:
        signature = bytes(each.signature)
        document = {"_id": signature, "position": position_of(each.slot, each.index), "body": packed(each)}
        writes.append(Insert(TRANSACTIONS, document))
        for address in set(each.keys):
            by_address.setdefault(address, []).append(signature)
    slot = landed[0].slot
    writes += (
        Insert(ADDRESSES, {"_id": address_key(bytes(address), slot), "signatures": b"".join(signatures)})
        for address, signatures in by_address.items()
    )
    return writes


def taken_out(landed: Iterable[Executed]) -> list[Write]:
    """Transactions that a fork undid, or that were pruned, with their blocks."""
    keys, writes = set[bytes](), list[Write]()
    slots = set[int]()
    for each in landed:
        writes.append(Delete(TRANSACTIONS, bytes(each.signature)))
        keys.update(address_key(bytes(address), each.slot) for address in each.keys)
        slots.add(each.slot)
    writes += (Delete(ADDRESSES, key) for key in keys)
    writes += (Delete(BLOCKS, slot) for slot in slots)
    return writes


def skip_writes(first: int, last: int, within: Iterable[int]) -> list[Write]:
    """A range of slots without a block, in place of those `within` it."""
    return [*(Delete(SKIPPED, each) for each in within), Put(SKIPPED, {"_id": first, "last": last})]
