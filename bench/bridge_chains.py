"""What both chains say of a bridge, read from their blocks: deposits, releases, certificates and locks.

It shares no code with the bridge: message ids, markers and amounts are computed anew from the contract's rules. Of
BSV only the parsing of transactions and scripts is the node's own.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from base58 import b58decode, b58encode
from solders.pubkey import Pubkey

from bench.chain_reader import MEMO_PROGRAM, SYSTEM_PROGRAM, TOKEN_PROGRAM, Chain
from overlay.devchain.records import BLOCKS, DEV_COLLECTIONS, TRANSACTIONS
from overlay.pushdrop import decode
from overlay.transaction import Transaction, outpoint
from store.pages import pages
from store.port import Find
from store.sqlite import SqliteStore

UNITS_A_WH: Final = 10**6
_ATA_PROGRAM: Final = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
_ALLOCATE_WITH_SEED: Final = (9).to_bytes(4, "little")
_TRANSFERS: Final = {3: (0, 1), 12: (0, 2)}
_MINTS: Final = {7: (0, 1), 14: (0, 1)}
_PREFIX: Final = "gwx1:"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a campaign's bridge is known by. `identity` is its key on BSV, 33 B; `base` that of its markers;
    `account` that of its mirrored meters."""

    mint: str
    custody: str
    base: str
    identity: bytes
    solana_genesis: bytes
    bsv_genesis: bytes
    account: str = ""
    has_markers: bool = True


@dataclass(frozen=True, slots=True)
class Deposit:
    """Tokens that came into custody in a final transaction. `memo` is what follows `gwx1:` of the one memo that
    begins so, None where there is none or several."""

    id: bytes
    signature: str
    units: int
    source: str | None
    memo: str | None


@dataclass(frozen=True, slots=True)
class Payment:
    """Tokens that left custody in a final transaction: after which marker, and what the memo names for it."""

    signature: str
    marker: str | None
    destination: str
    units: int
    named: str | None = None


@dataclass(frozen=True, slots=True)
class Solana:
    deposits: Mapping[bytes, Deposit]
    payments: tuple[Payment, ...]
    balance: int

    def by_crossing(self, terms: Terms) -> dict[str, list[Payment]]:
        """By marker; or by what the memo names."""
        found: dict[str, list[Payment]] = defaultdict(list)
        for each in self.payments:
            found[(each.marker if terms.has_markers else each.named) or ""].append(each)
        return found


@dataclass(frozen=True, slots=True)
class Certificate:
    """A token output of a mined transaction. `origin` is the hex id of the message that it states, None without."""

    outpoint: bytes
    issuer: bytes
    owner: bytes
    issuance_id: str
    start: int
    stop: int
    wh: int
    is_issuance: bool
    status: str
    origin: str | None
    exit: Any
    spent_by: bytes | None


@dataclass(slots=True)
class Bsv:
    """All certificates of the main chain, by outpoint, and the outpoints that each transaction made."""

    certificates: dict[bytes, Certificate] = field(default_factory=dict)
    made_by: dict[bytes, list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def successors(self, certificate: Certificate) -> list[Certificate]:
        """What took its place: outputs of the spending transaction of the same issuance, within its range."""
        if certificate.spent_by is None:
            return []
        made = [self.certificates[each] for each in self.made_by[certificate.spent_by]]
        return [
            each
            for each in made
            if each.issuance_id == certificate.issuance_id
            and certificate.start <= each.start
            and each.stop <= certificate.stop
        ]


# Ids and markers, by the contract's rules


def message_id(parts: tuple[bytes, ...], units: int) -> bytes:
    """`gwx1`, then each part with its length (u16 BE) before it; the amount is the last, u64 BE."""
    hasher = sha256(b"gwx1")
    for part in (*parts, units.to_bytes(8, "big")):
        hasher.update(len(part).to_bytes(2, "big") + part)
    return hasher.digest()


def refund_id(message: bytes) -> bytes:
    return sha256(b"refund" + message).digest()


def exit_id(terms: Terms, lock: Certificate) -> bytes:
    address = str(lock.exit["address"]).encode() if isinstance(lock.exit, dict) else b""
    parts = (terms.bsv_genesis, lock.issuance_id.encode(), lock.outpoint, terms.solana_genesis, address)
    return message_id(parts, lock.wh * UNITS_A_WH)


def token_account(wallet: str, mint: str) -> str:
    seeds = [b58decode(each) for each in (wallet, TOKEN_PROGRAM, mint)]
    return str(Pubkey.find_program_address(seeds, _ATA_PROGRAM)[0])


# Solana


async def read_solana(chain: Chain, terms: Terms, at_least: int = 0) -> Solana:
    """Everything final, up to that slot at least; `Lags` when less is told."""
    deposits: dict[bytes, Deposit] = {}
    payments: list[Payment] = []
    async for _, transaction in chain.transactions(at_least):
        if transaction["meta"]["err"] is None:
            deposits |= {each.id: each for each in _deposits(transaction, terms)}
            payments += _payments(transaction, terms)
    told = await chain.call("getTokenAccountBalance", terms.custody, {"commitment": "finalized"})
    return Solana(deposits, tuple(payments), int(told["value"]["amount"]))


def _deposits(transaction: dict[str, Any], terms: Terms) -> Iterator[Deposit]:
    signature = transaction["transaction"]["signatures"][0]
    found = list(_calls(transaction))
    memo = _memo(data for _, program, _, data in found if program == MEMO_PROGRAM)
    for path, program, accounts, data in found:
        if program != TOKEN_PROGRAM:
            continue
        if data[0] in _TRANSFERS:
            at = _TRANSFERS[data[0]]
            source, destination = accounts[at[0]], accounts[at[1]]
        elif data[0] in _MINTS and accounts[0] == terms.mint:
            source, destination = None, accounts[1]
        else:
            continue
        if destination != terms.custody or source == terms.custody:
            continue
        units = int.from_bytes(data[1:9], "little")
        event = b58decode(signature) + b"".join(part.to_bytes(2, "big") for part in path)
        # What is minted straight into custody is for the account of the meter, whatever a memo says.
        recipient = terms.account if source is None else (memo or "")
        parts = (terms.solana_genesis, b58decode(terms.mint), event, terms.bsv_genesis, recipient.encode())
        yield Deposit(message_id(parts, units), signature, units, source, memo)


def _payments(transaction: dict[str, Any], terms: Terms) -> Iterator[Payment]:
    marker: str | None = None
    found = list(_calls(transaction))
    texts = [data.decode(errors="replace") for _, program, _, data in found if program == MEMO_PROGRAM]
    named = iter([name for text in texts for name in text.rpartition(":")[2].split(",")])
    for _, program, accounts, data in found:
        if program == SYSTEM_PROGRAM and data[:4] == _ALLOCATE_WITH_SEED:
            marker = accounts[0]
        elif program == TOKEN_PROGRAM and data[0] in _TRANSFERS:
            at = _TRANSFERS[data[0]]
            if accounts[at[0]] == terms.custody and accounts[at[1]] != terms.custody:
                signature = transaction["transaction"]["signatures"][0]
                units = int.from_bytes(data[1:9], "little")
                yield Payment(signature, marker, accounts[at[1]], units, next(named, None))
                marker = None


def _memo(datas: Iterator[bytes]) -> str | None:
    """What the one `gwx1:` memo says; None where there is none, or more than one."""
    texts = [text for data in datas if (text := data.decode(errors="replace")).startswith(_PREFIX)]
    return texts[0].removeprefix(_PREFIX) if len(texts) == 1 else None


def _calls(transaction: dict[str, Any]) -> Iterator[tuple[tuple[int, int, int], str, list[str], bytes]]:
    """Instructions with their paths: outer, inner (0 for the outer one itself), batch (always 0 here)."""
    message, meta = transaction["transaction"]["message"], transaction["meta"]
    loaded = meta.get("loadedAddresses") or {"writable": [], "readonly": []}
    keys = [*message["accountKeys"], *loaded["writable"], *loaded["readonly"]]
    inner = {each["index"]: each["instructions"] for each in meta.get("innerInstructions") or ()}
    for index, outer in enumerate(message["instructions"]):
        for place, each in enumerate((outer, *inner.get(index, ()))):
            accounts = [keys[at] for at in each["accounts"]]
            yield (index, place, 0), keys[each["programIdIndex"]], accounts, b58decode(each["data"])


# BSV


async def read_bsv(database: Path) -> Bsv:
    """The certificates of all mined transactions of the main chain, from the dev chain's own file."""
    store = SqliteStore(database, cache_mib=4)
    await store.open(DEV_COLLECTIONS)
    try:
        return await _read_blocks(store)
    finally:
        await store.close()


async def _read_blocks(store: SqliteStore) -> Bsv:
    mined: list[Transaction] = []
    async for blocks in pages(store, BLOCKS, Find("by_height", {"main": 1})):
        txids = [each["txids"][at : at + 32] for each in blocks for at in range(0, len(each["txids"]), 32)]
        rows = await store.get_many(TRANSACTIONS, txids)
        mined += [Transaction.parse(rows[txid]["raw"]) for txid in txids if txid in rows]
    spends = {spend.outpoint: each.txid for each in mined for spend in each.inputs}
    bsv = Bsv()
    for transaction in mined:
        for index, output in enumerate(transaction.outputs):
            found = _certificate(transaction, index, output.script, spends)
            if found is not None:
                bsv.certificates[found.outpoint] = found
                bsv.made_by[transaction.txid].append(found.outpoint)
    return bsv


def _certificate(
    transaction: Transaction, index: int, script: bytes, spends: Mapping[bytes, bytes]
) -> Certificate | None:
    pushed = decode(script)
    if pushed is None or len(pushed.fields) != 3:
        return None
    try:
        told = json.loads(pushed.fields[0])
        tag, origin = told["energyTag"], told.get("origin") or {}
        place = outpoint(transaction.txid, index)
        start, stop = tag["bundle_id_range_start"], tag["bundle_id_range_end"]
        return Certificate(
            place,
            pushed.fields[1],
            pushed.locking_key,
            tag["issuance_id"],
            start,
            stop,
            tag["bundle_quantity"] * tag["face_value"],
            tag["issuance_id"] == _issuance_id(transaction.inputs[0].outpoint, index),
            tag["certificate_status"],
            origin.get("message") if isinstance(origin, dict) else None,
            told.get("exit"),
            spends.get(place),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _issuance_id(spent: bytes, index: int) -> str:
    digest = bytearray(sha256(b"metawatt gc" + spent + index.to_bytes(4, "little")).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def text58(data: bytes) -> str:
    return b58encode(data).decode()
