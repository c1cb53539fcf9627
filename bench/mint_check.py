"""What a minting campaign left behind, judged: each reading minted once, with its own units, and nothing else.

Evidence is the chain (every block, the mint's supply, the wallets' balances, the markers) and what meters handed
in. No code of the minter has a part in it: amounts are computed anew from what was signed, mints are told apart
by their memos, and marker addresses are derived from the rule that the contract writes down.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final, TypeAlias

from base58 import b58decode, b58encode
from solders.pubkey import Pubkey

from bench.chain_reader import MEMO_PROGRAM, TOKEN_PROGRAM, Chain, Minted, RpcError, mints_of

_ATA_PROGRAM: Final = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
_ACCOUNTS_A_CALL: Final = 100
_MOST_TOLD: Final = 8

Recorded: TypeAlias = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Owed:
    """A reading that a meter was told is stored: what it signed, and where its tokens go."""

    reading: str  # base58 of its key, as memos have it
    meter: str
    interval_start_ms: int
    kwh: str
    wallet: str

    def units(self, decimals: int) -> int:
        """One token for a kWh."""
        units = Decimal(self.kwh).scaleb(decimals)
        if units != int(units):
            raise ValueError(f"{self.kwh} kWh are no whole number of base units")
        return int(units)


@dataclass(frozen=True, slots=True)
class Book:
    """What the node's store says of a reading: its state, and the transaction that it names, base58."""

    state: str
    signature: str | None


@dataclass(frozen=True, slots=True)
class Terms:
    """Of the mint, and whether readings must have markers."""

    mint: str
    authority: str
    decimals: int
    has_markers: bool


@dataclass(slots=True)
class Verdict:
    """Counts of readings, but for mints, transactions, units and wallets; `faults` tells the first of each kind.
    `hidden` are mints that the cluster kept from the event processor until it read the history again."""

    readings: int = 0
    mints: int = 0
    transactions: int = 0
    failed_transactions: int = 0
    double: int = 0
    surplus_mints: int = 0
    lost: int = 0
    wrong: int = 0
    stray: int = 0
    unmarked: int = 0
    misbooked: int = 0
    misrecorded: int = 0
    hidden: int = 0
    unfinished: int = 0
    owed_units: int = 0
    supply_units: int = 0
    wallets_off: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        """Exactly once, to the base unit, and the books say so."""
        return not self.faults

    def fault(self, kind: str, text: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.faults) < _MOST_TOLD or getattr(self, kind) == 1:
            self.faults.append(f"{kind}: {text}")


async def checked(
    chain: Chain,
    terms: Terms,
    owed: Sequence[Owed],
    books: Mapping[str, Book],
    recorded: Counter[Recorded] | None = None,
) -> Verdict:
    """The verdict on all that is final now. `recorded` is what an event processor saw minted, each with its
    signature, token account and units; None where none ran."""
    mints, failed = await mints_of(chain, terms.mint)
    verdict = Verdict(
        readings=len(owed),
        mints=len(mints),
        transactions=len({each.signature for each in mints}),
        failed_transactions=failed,
    )
    by_reading = _by_reading(verdict, mints, owed)
    for each in owed:
        _check_reading(verdict, terms, each, by_reading[each.reading])
        _check_book(verdict, each, by_reading[each.reading], books.get(each.reading))
    await _check_sums(chain, verdict, terms, owed, mints)
    if terms.has_markers:
        await _check_markers(chain, verdict, terms, owed, by_reading)
    if recorded is not None:
        _check_recorded(verdict, mints, recorded)
    return verdict


def _by_reading(verdict: Verdict, mints: Sequence[Minted], owed: Sequence[Owed]) -> dict[str, list[Minted]]:
    known = {each.reading for each in owed}
    found: dict[str, list[Minted]] = defaultdict(list)
    for each in mints:
        if each.reading in known:
            found[each.reading or ""].append(each)
        else:
            verdict.fault("stray", f"{each.signature} mints {each.units} for {each.reading}")
    return found


def _check_reading(verdict: Verdict, terms: Terms, owed: Owed, mints: Sequence[Minted]) -> None:
    if not mints:
        verdict.fault("lost", f"{_name(owed)} was never minted")
    if len(mints) > 1:
        verdict.surplus_mints += len(mints) - 1
        where = ", ".join(f"{each.signature[:8]} in slot {each.slot}" for each in mints)
        verdict.fault("double", f"{_name(owed)} was minted {len(mints)} times: {where}")
    right = str(token_account(owed.wallet, terms.mint)), owed.units(terms.decimals)
    for each in mints:
        if (each.destination, each.units) != right:
            verdict.fault(
                "wrong", f"{_name(owed)}: {each.units} to {each.destination}, not {right[1]} to {right[0]}"
            )


def _check_book(verdict: Verdict, owed: Owed, mints: Sequence[Minted], book: Book | None) -> None:
    if book is None or book.state != "minted":
        verdict.fault("unfinished", f"{_name(owed)} is {book.state if book else 'not in the store'}")
    elif book.signature not in {each.signature for each in mints}:
        verdict.fault("misbooked", f"{_name(owed)} names {book.signature}, which did not mint it")


def _check_recorded(verdict: Verdict, mints: Sequence[Minted], recorded: Counter[Recorded]) -> None:
    seen = Counter((each.signature, each.destination, each.units) for each in mints)
    for missed in (seen - recorded).elements():
        verdict.fault("misrecorded", f"the event processor missed {missed}")
    for invented in (recorded - seen).elements():
        verdict.fault("misrecorded", f"the event processor saw {invented}, which is not on the chain")


async def _check_sums(
    chain: Chain, verdict: Verdict, terms: Terms, owed: Sequence[Owed], mints: Sequence[Minted]
) -> None:
    """Supply and balances, which do not hang on how instructions are read."""
    wallets: Counter[str] = Counter()
    for each in owed:
        wallets[each.wallet] += each.units(terms.decimals)
    verdict.owed_units = wallets.total()
    supply = await chain.call("getTokenSupply", terms.mint, {"commitment": "finalized"})
    verdict.supply_units = int(supply["value"]["amount"])
    if verdict.supply_units != (total := sum(each.units for each in mints)):
        verdict.faults.append(f"supply: {verdict.supply_units}, but the blocks mint {total}")
    if verdict.supply_units != verdict.owed_units:
        verdict.faults.append(f"supply: {verdict.supply_units} units for readings of {verdict.owed_units}")
    for wallet, units in wallets.items():
        held = await _balance(chain, token_account(wallet, terms.mint))
        if held != units:
            verdict.fault("wallets_off", f"{wallet} holds {held}, not {units}")


async def _balance(chain: Chain, account: Pubkey) -> int:
    try:
        found = await chain.call("getTokenAccountBalance", str(account), {"commitment": "finalized"})
    except RpcError:  # there is no such account
        return 0
    return int(found["value"]["amount"])


async def _check_markers(
    chain: Chain, verdict: Verdict, terms: Terms, owed: Sequence[Owed], by_reading: Mapping[str, Sequence[Minted]]
) -> None:
    """Each reading has its own marker on the chain, and its mint came with it."""
    genesis = b58decode(await chain.call("getGenesisHash"))
    markers = [str(marker_address(genesis, terms, each)) for each in owed]
    for start in range(0, len(owed), _ACCOUNTS_A_CALL):
        page = markers[start : start + _ACCOUNTS_A_CALL]
        config = {"encoding": "base64", "commitment": "finalized"}
        accounts = (await chain.call("getMultipleAccounts", page, config))["value"]
        for reading, marker, account in zip(owed[start:], page, accounts, strict=False):
            _check_marker(verdict, reading, marker, account, by_reading[reading.reading])


def _check_marker(
    verdict: Verdict, owed: Owed, marker: str, account: dict[str, Any] | None, mints: Sequence[Minted]
) -> None:
    if account is None or account["owner"] != MEMO_PROGRAM:
        verdict.fault("unmarked", f"{_name(owed)} has no marker at {marker}")
    if any(each.marker != marker for each in mints):
        verdict.fault("unmarked", f"{_name(owed)} was minted without its marker {marker}")


def marker_address(genesis: bytes, terms: Terms, owed: Owed) -> Pubkey:
    """The contract's rule: of cluster, mint, meter and interval."""
    named = b"gwx1 reading" + genesis + b58decode(terms.mint) + owed.meter.encode()
    digest = sha256(named + owed.interval_start_ms.to_bytes(8, "big")).digest()
    base, owner = Pubkey.from_string(terms.authority), Pubkey.from_string(MEMO_PROGRAM)
    return Pubkey.create_with_seed(base, b58encode(digest[:16]).decode(), owner)


def token_account(wallet: str, mint: str) -> Pubkey:
    """The wallet's associated account."""
    seeds = [b58decode(each) for each in (wallet, TOKEN_PROGRAM, mint)]
    return Pubkey.find_program_address(seeds, _ATA_PROGRAM)[0]


def _name(owed: Owed) -> str:
    return f"reading {owed.reading} of {owed.meter}"
