"""Statements of cancellation: what was retired, for whom, and what proves it.

A statement is made from the chain's index anew each time it is asked for, and nothing of it is stored. What it
states does not depend on when that is: it lists each retirement as it was cancelled, parts of one cancellation
joined, in a fixed order. How the transactions are proven, and what was claimed since, stands beside it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from certificates.canonical import canonical
from certificates.ranges import Range, merge
from config.errors import ErrorCode, NotFound
from energytag.accounts import account
from energytag.actions import Action
from energytag.charged import charged_in
from energytag.ground import RegistryGround
from energytag.models.common import secs_of, written
from energytag.models.matching import (
    CancellationStatement,
    EnergyOf,
    RetiredFor,
    Retirement,
    Statement,
    StatementQuestion,
)
from energytag.proofs import proofs_of
from energytag.records import ACTIONS
from energytag.retired import (
    Beneficiary,
    Retired,
    TooMuch,
    cancelled_as,
    coins_spent,
    retired_at,
    retired_of,
    shares_numbers,
)
from lookup.filters import Filters
from lookup.records import CERTIFICATES
from overlay.records import outpoint_range
from store.pages import every
from store.port import Document, Find, Reader

VERSION: Final = 1
MOST_RETIREMENTS: Final = 20_000
"""Cancelled bundles in one statement."""


class _Kin(NamedTuple):
    """What the parts of one retirement have in common."""

    issuance_id: str
    txid: bytes
    beneficiary: Beneficiary


async def account_asked(reader: Reader, question: StatementQuestion) -> str:
    """The account that a question is about; `NotFound(ACTION_UNKNOWN)` for an action that is none's."""
    if question.action_id is None:
        return question.account_id or ""
    action = await _action(reader, question.action_id)
    if action.account_id is None:
        raise NotFound(f"action {action.action_id} is not about certificates", ErrorCode.ACTION_UNKNOWN)
    return action.account_id


async def _action(reader: Reader, action_id: str) -> Action:
    document = await reader.get(ACTIONS, action_id)
    if document is None:
        raise NotFound(f"there is no action {action_id}", ErrorCode.ACTION_UNKNOWN)
    return Action.read(document)


async def state_cancellations(ground: RegistryGround, question: StatementQuestion) -> CancellationStatement:
    """The statement that answers a question; one without retirements says that there were none.

    `NotFound` with ACCOUNT_UNKNOWN or ACTION_UNKNOWN; `TooMuch` beyond `MOST_RETIREMENTS`.
    """
    account_id = await account_asked(ground.store, question)
    name = (await account(ground.store, account_id))["name"]
    if question.action_id is None:
        retired = await _retired_in(ground, question)
    else:
        retired = await _retired_by(ground.store, await _action(ground.store, question.action_id))
    # A long statement takes a while to write, and others are served meanwhile.
    statement, statement_id = await asyncio.to_thread(_stated, ground, question, retired)
    txids = sorted({each.holding.coin.txid for each in retired})
    proofs = await proofs_of(ground, txids)
    return CancellationStatement(
        statement_id=statement_id,
        statement=statement,
        registry=ground.settings.registry.issuing_body,
        account_name=name,
        claimed_wh=sum(each.energy_wh for each in retired if each.is_spent),
        charged_wh=await _charged_wh(ground.store, retired),
        timestamp_proofs={txid[::-1].hex(): proofs[txid].told() for txid in txids if txid in proofs},
    )


async def _charged_wh(reader: Reader, retired: Sequence[Retired]) -> int:
    """What of the energy went into a store, Wh."""
    by_account: dict[str, list[Retired]] = defaultdict(list)
    for each in retired:
        by_account[each.record["account_id"]].append(each)
    charged_wh = 0
    for account_id, own in by_account.items():
        start = min(each.record["period_start"] for each in own)
        end = max(each.record["period_end"] for each in own)
        charged = await charged_in(reader, account_id, start, end)
        charged_wh += sum(each.charged_wh(charged) for each in own)
    return charged_wh


async def _retired_in(ground: RegistryGround, question: StatementQuestion) -> list[Retired]:
    """The cancellations that stand in an account, of an issuance or within a period."""
    equals = {"account_id": (question.account_id,)}
    if question.issuance_id is not None:
        equals["issuance_id"] = (question.issuance_id,)
    start, end = (None if moment is None else secs_of(moment) for moment in (question.start, question.end))
    now_secs = ground.now_ms() // 1000
    found: list[Retired] = []
    async for each in retired_of(ground.store, Filters(equals, period_start=start, period_end=end), now_secs):
        found.append(each)
        _check(len(found))
    return await cancelled_as(ground.store, found)


async def _retired_by(reader: Reader, action: Action) -> list[Retired]:
    """The cancellations that an action made. Its transactions may hold others', whose coins were not its
    account's."""
    txids = [bytes.fromhex(txid)[::-1] for txid in action.txids]
    spent = await coins_spent(reader, txids)
    found: list[bytes] = []
    for txid in txids:
        coins = [coin for coin in spent.get(txid, ()) if coin["account_id"] == action.account_id]
        rows = await _outputs(reader, txid)
        found += [row["_id"] for row in rows if any(shares_numbers(coin, row) for coin in coins)]
        _check(len(found))
    return [each for each in await retired_at(reader, found) if not each.is_claimed]


async def _outputs(reader: Reader, txid: bytes) -> list[Document]:
    """The records of a transaction's certificates."""
    lower, upper = outpoint_range(txid)
    return await every(reader, CERTIFICATES, Find(lower=lower, upper=upper))


def _check(count: int) -> None:
    if count > MOST_RETIREMENTS:
        raise TooMuch(f"the statement has more than {MOST_RETIREMENTS} bundles; ask about a shorter time")


def _stated(
    ground: RegistryGround, question: StatementQuestion, retired: Sequence[Retired]
) -> tuple[Statement, str]:
    """The statement, and the digest that is its id."""
    statement = _statement(ground, question, retired)
    return statement, sha256(canonical(statement.model_dump(mode="json"))).hexdigest()


def _statement(ground: RegistryGround, question: StatementQuestion, retired: Sequence[Retired]) -> Statement:
    retirements = list(_retirements(retired))
    return Statement(
        version=VERSION,
        registry_key=ground.keyring.identity.hex(),
        question=written(question),
        period_start=min((each.production_starting_interval for each in retirements), default=None),
        period_end=max((each.production_ending_interval for each in retirements), default=None),
        certificates=sum(each.certificates for each in retirements),
        energy_wh=sum(each.energy_wh for each in retirements),
        beneficiaries=_beneficiaries(retirements),
        energy=_energy(retirements),
        retirements=retirements,
    )


def _retirements(retired: Iterable[Retired]) -> Iterator[Retirement]:
    """A line for each unbroken range that one transaction retired for one beneficiary: the earliest production
    first, then by issuance and number."""
    parts: dict[_Kin, list[Range]] = defaultdict(list)
    records: dict[_Kin, Retired] = {}
    for each in retired:
        kin = _Kin(each.record["issuance_id"], each.holding.coin.txid, each.beneficiary)
        parts[kin] += each.parts
        records.setdefault(kin, each)
    lines = [
        (records[kin].record["period_start"], kin.issuance_id, part, kin)
        for kin, held in parts.items()
        for part in merge(held)
    ]
    for _, _, part, kin in sorted(lines, key=lambda line: line[:3]):
        yield _line(records[kin], part, kin)


def _line(retired: Retired, part: Range, kin: _Kin) -> Retirement:
    tag = retired.holding.token.bundle.attributes
    return Retirement(
        issuance_id=kin.issuance_id,
        bundle_id_range_start=part.start,
        bundle_id_range_end=part.end,
        certificates=part.quantity,
        energy_wh=part.quantity * tag["face_value"],
        device_id=tag["device_id"],
        device_name=tag["device_name"],
        energy_source=retired.record["energy_source"],
        zone=tag["issue_market_zone"],
        country=tag["country_of_issuance"],
        production_starting_interval=tag["production_starting_interval"],
        production_ending_interval=tag["production_ending_interval"],
        issuing_body=tag["issuing_body"],
        issuer_key=retired.holding.token.issuer_key.hex(),
        beneficiary=kin.beneficiary.name,
        beneficiary_key=kin.beneficiary.identity_key,
        tx_id=kin.txid[::-1].hex(),
    )


def _beneficiaries(retirements: Iterable[Retirement]) -> list[RetiredFor]:
    certificates: Counter[tuple[str, str]] = Counter()
    energy: Counter[tuple[str, str]] = Counter()
    for each in retirements:
        key = each.beneficiary, each.beneficiary_key or ""
        certificates[key] += each.certificates
        energy[key] += each.energy_wh
    return [
        RetiredFor(
            beneficiary=name,
            beneficiary_key=identity or None,
            certificates=certificates[name, identity],
            energy_wh=energy[name, identity],
        )
        for name, identity in sorted(energy)
    ]


def _energy(retirements: Iterable[Retirement]) -> list[EnergyOf]:
    sums: Counter[tuple[str, str, str]] = Counter()
    for each in retirements:
        sums[each.production_starting_interval[:7], each.zone, each.energy_source] += each.energy_wh
    return [
        EnergyOf(energy_source=source, zone=zone, month=month, energy_wh=energy_wh)
        for (month, zone, source), energy_wh in sorted(sums.items())
    ]
