"""Receipts written, in the commit that ends a crossing, and handed out whole.

What is stored is the signed statement, and the transactions on Solana, which a cluster may forget. Transactions on
BSV are the node's own; they are many certificates large, and shared by many receipts. So they are put in when a
receipt is asked for, each with the newest proof: also the transaction that withdraws an exit's certificate, which
is not yet in a block when its receipt is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
from solders.pubkey import Pubkey
from solders.signature import Signature

from basket.keyring import Keyring
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message
from bridge.mirror.receipt import (
    BsvLeg,
    BsvProof,
    Leg,
    LogStep,
    Marker,
    Receipt,
    SolanaLeg,
    Statement,
    read_statement,
)
from bridge.mirror.records import AUDIT, RECEIPTS, RELEASES
from bridge.mirror.states import Direction, State
from bridge.programs.release import crossing_marker
from bridge.programs.tokens import associated_account
from certificates.canonical import canonical
from config.errors import ErrorCode, Internal, Unavailable
from energytag.ground import RegistryGround
from energytag.proofs import proofs_of
from overlay.records import load_raws
from overlay.transaction import txid_from_hex
from store.port import Insert, Write

_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Found:
    """A transaction on Solana: its bytes, where they could be had, and its leg."""

    leg: SolanaLeg
    raw: bytes | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A receipt to which nothing is missing but the txid of what completes an exit."""

    statement: Statement
    solana: Mapping[str, bytes]
    keyring: Keyring

    def write(self, completion: str | None = None) -> Write:
        """The write that stores it; `completion` is the txid, display hex, of the transaction that withdraws the
        certificate of an exit."""
        statement = self.statement
        if completion is not None:
            statement = replace(statement, completion=txid_from_hex(completion))
        message_id = statement.message.id
        signature = self.keyring.sign_receipt(message_id.hex(), statement.text())
        text = canonical({**statement.told(), "signature": signature.hex()})
        raws = [[name, raw] for name, raw in self.solana.items()]
        return Insert(RECEIPTS, {"_id": message_id, "receipt": text, "solana": raws})


class ReceiptWriter:
    """Implements `ports.Receipts`."""

    def __init__(self, ground: MirrorGround) -> None:
        self._ground = ground

    async def write(self, message: Message) -> Write:
        """The receipt of a message that is DST_FINAL, or that the page at hand has made RECEIPTED or REFUNDED;
        `facts["completion"]` names what withdraws the certificate of an exit. Raises `Unavailable` when the cluster
        does not tell of a transaction."""
        drafts = await self.drafts([message])
        return drafts[message.id].write(message.facts.get("completion"))

    async def drafts(self, messages: Sequence[Message]) -> dict[bytes, Draft]:
        """Receipts of many messages, by id, for whoever knows the completing transaction only later."""
        logs = await self._logs(messages)
        sources = await self._sources(messages)
        releases = await self._releases(messages)
        return {each.id: self._draft(each, logs[each.id], sources, releases) for each in messages}

    def _draft(
        self,
        message: Message,
        log: tuple[LogStep, ...],
        sources: Mapping[bytes, Found],
        releases: Mapping[bytes, Found],
    ) -> Draft:
        ground, facts = self._ground, message.facts
        is_in = message.direction is Direction.IN
        found = [each for each in (sources.get(message.id), releases.get(message.id)) if each is not None]
        statement = Statement(
            bridge=ground.identity,
            bsv_genesis=ground.bsv_genesis,
            asset=ground.asset,
            message=message,
            source_asset=ground.asset.name if is_in else str(facts.get("issuance_id", "")),
            outcome=State.REFUNDED if message.is_refund else State.RECEIPTED,
            source=sources[message.id].leg if is_in else BsvLeg(message.source_tx),
            destination=_destination(message, releases),
            marker=self._marker(message) if is_in is message.is_refund else None,
            completion=None,
            log=log,
            written_ms=ground.now_ms(),
        )
        if statement.computed_id() != message.id:
            raise Internal(f"message {message.id.hex()} is not of the parts that its receipt states")
        raws = {str(each.leg.signature): each.raw for each in found if each.raw is not None}
        return Draft(statement, raws, ground.registry.ground.keyring)

    def _marker(self, message: Message) -> Marker:
        asset, base = self._ground.asset, self._ground.signers[0].public
        seed, address = crossing_marker(asset.genesis, asset.mint, base, message.crossing_id)
        return Marker(address, base, seed)

    # The log

    async def _logs(self, messages: Iterable[Message]) -> dict[bytes, tuple[LogStep, ...]]:
        messages = list(messages)
        numbers = sorted({number for each in messages for number in each.entries})
        rows = await self._ground.store.get_many(AUDIT, numbers)
        wanted = {each.id.hex() for each in messages}
        steps: dict[str, list[LogStep]] = {each: [] for each in wanted}
        for number in numbers:
            if number in rows:  # not those of the page that is being written
                for message, step in log_steps(rows[number]["text"], rows[number]["hash"]):
                    if message in wanted:
                        steps[message].append(step)
        return {each.id: tuple(steps[each.id.hex()]) for each in messages}

    # Solana

    async def _sources(self, messages: Iterable[Message]) -> dict[bytes, Found]:
        """Of messages from Solana, by message."""
        coming = [each for each in messages if each.direction is Direction.IN]
        slots = {each.source_tx: each.facts.get("slot") for each in coming}
        turns = asyncio.Semaphore(_AT_ONCE)
        found = await asyncio.gather(*(self._seen(tx, slot, turns) for tx, slot in slots.items()))
        by_signature = dict(zip(slots, found, strict=True))
        return {each.id: _with_account(by_signature[each.source_tx], each) for each in coming}

    async def _seen(self, signature: bytes, slot: int | None, turns: asyncio.Semaphore) -> Found:
        named = Signature.from_bytes(signature)
        async with turns:
            seen = await self._ground.rpc.transaction(named)
            if seen is None:
                await self._demand_forgotten(named, slot)
                return Found(SolanaLeg(named, slot), None)
        raw, own = bytes(seen.transaction), len(seen.transaction.message.account_keys)
        return Found(SolanaLeg(named, seen.slot, loaded=tuple(seen.account_keys[own:])), raw)

    async def _demand_forgotten(self, signature: Signature, slot: int | None) -> None:
        """A cluster may have forgotten what is old, and the receipt says so; else it is to be asked again."""
        if slot is None or await self._ground.rpc.first_available_slot() <= slot:
            raise Unavailable(f"the cluster does not tell of {signature}", ErrorCode.SOLANA_UNAVAILABLE)

    async def _releases(self, messages: Iterable[Message]) -> dict[bytes, Found]:
        """Of messages whose destination is Solana, by message."""
        going = [each for each in messages if (each.direction is Direction.IN) is each.is_refund]
        signatures = list({each.destination_tx for each in going if each.destination_tx is not None})
        rows = await self._ground.store.get_many(RELEASES, signatures)
        turns = asyncio.Semaphore(_AT_ONCE)
        found: dict[bytes, Found] = {}
        for each in going:
            if each.destination_tx is None:
                raise Internal(f"message {each.id.hex()} is final, and names no transaction")
            row = rows.get(each.destination_tx)
            if row is None:  # an earlier process sent it, whose rows are not here
                seen = await self._seen(each.destination_tx, None, turns)
            else:
                seen = Found(SolanaLeg(Signature.from_bytes(each.destination_tx), row["slot"]), row["raw"])
            found[each.id] = replace(seen, leg=replace(seen.leg, account=self._paid_to(each)))
        return found

    def _paid_to(self, message: Message) -> Pubkey | None:
        """The token account that a release, or a refund, went to."""
        if message.direction is Direction.IN:
            source = message.facts.get("source")
            return None if source is None else Pubkey.from_string(source)
        asset = self._ground.asset
        return associated_account(Pubkey.from_string(message.recipient), asset.mint, asset.token_program)


def log_steps(text: bytes, digest: bytes) -> list[tuple[str, LogStep]]:
    """The steps that an entry of the log tells of, each with its message's id in hex."""
    entry = orjson.loads(text)
    return [
        (
            edge["message"],
            LogStep(entry["n"], digest, entry["at_ms"], edge["from"], edge["to"], edge.get("facts", {})),
        )
        for edge in entry["edges"]
    ]


async def whole_receipt(ground: RegistryGround, message_id: bytes) -> bytes | None:
    """A message's receipt with all its proofs, as it is handed out (`receipt.Receipt.document`); None while there
    is none."""
    row = await ground.store.get(RECEIPTS, message_id)
    if row is None:
        return None
    told: dict[str, Any] = orjson.loads(row["receipt"])
    signature = bytes.fromhex(told.pop("signature"))
    statement = read_statement(told)
    solana = dict(row["solana"])
    return Receipt(statement, signature, solana, await _bsv_proofs(ground, statement)).document()


async def _bsv_proofs(ground: RegistryGround, statement: Statement) -> dict[str, BsvProof]:
    legs = (statement.source, statement.destination)
    txids = [leg.txid for leg in legs if isinstance(leg, BsvLeg)]
    if statement.completion is not None:
        txids.append(statement.completion)
    raws, proofs = await load_raws(ground.store, txids), await proofs_of(ground, txids)
    found: dict[str, BsvProof] = {}
    for txid, raw in raws.items():
        proof = proofs[txid]
        header = None if proof.header is None else proof.header.raw
        found[txid[::-1].hex()] = BsvProof(raw, proof.height, proof.path, header)
    return found


def _destination(message: Message, releases: Mapping[bytes, Found]) -> Leg:
    if message.id in releases:
        return releases[message.id].leg
    if message.destination_tx is None:
        raise Internal(f"message {message.id.hex()} is final, and names no transaction")
    issuances = message.facts.get("issuances", ())
    return BsvLeg(message.destination_tx, tuple((str(name), int(at), int(wh)) for name, at, wh in issuances))


def _with_account(found: Found, message: Message) -> Found:
    source = message.facts.get("source")
    return found if source is None else replace(found, leg=replace(found.leg, account=Pubkey.from_string(source)))
