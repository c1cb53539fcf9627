"""Receipts written, in the commit that ends a crossing, and handed out whole.

What is stored is the signed statement, and the transactions on Solana, which a cluster may forget. Transactions on
BSV are the node's own; they are many certificates large, and shared by many receipts. So they are put in when a
receipt is asked for, each with the newest proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import orjson
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message
from bridge.mirror.receipts.logged import Logged
from bridge.mirror.receipts.receipt import BsvProof, Receipt
from bridge.mirror.receipts.sources import Found, Sources
from bridge.mirror.receipts.statement import BsvLeg, Leg, LogStep, Marker, SolanaLeg, Statement, read_statement
from bridge.mirror.records import MESSAGES, RECEIPTS, RELEASES
from bridge.mirror.states import Direction, State
from bridge.programs.release import crossing_marker
from config.errors import Internal
from energytag.ground import RegistryGround
from energytag.proofs import proofs_of
from overlay.records import load_raws
from store.port import Insert, Write


@dataclass(frozen=True, slots=True)
class _Legs:
    """Both sides of a message, and the transactions on Solana that they are of, by signature."""

    source: Leg
    destination: Leg
    raws: Mapping[str, bytes]


class ReceiptWriter:
    """Implements `ports.Receipts`."""

    def __init__(self, ground: MirrorGround) -> None:
        self._ground = ground
        self._log = Logged(ground.store)
        self._sources = Sources(ground.store, ground.rpc)

    async def write(self, message: Message) -> Write:
        """The receipt of a message that is DST_FINAL. Raises `Unavailable` when the cluster does not tell of a
        transaction, `Internal` when the message is not what its id says."""
        steps = await self._log.steps_of(message)
        legs = await self._legs(message)
        statement = self._statement(message, legs, steps)
        if statement.computed_id() != message.id:
            raise Internal(f"message {message.id.hex()} is not of the parts that its receipt states")
        text = statement.text()
        signature = self._ground.registry.ground.keyring.sign_receipt(message.id.hex(), text)
        raws = [[name, raw] for name, raw in legs.raws.items()]
        return Insert(RECEIPTS, {"_id": message.id, "receipt": text, "signature": signature, "solana": raws})

    def _statement(self, message: Message, legs: _Legs, steps: tuple[LogStep, ...]) -> Statement:
        ground = self._ground
        is_in = message.direction is Direction.IN
        return Statement(
            bridge=ground.identity,
            bsv_genesis=ground.bsv_genesis,
            asset=ground.asset,
            message=message,
            source_asset=ground.asset.name if is_in else str(message.facts.get("issuance_id", "")),
            outcome=State.REFUNDED if message.is_refund else State.RECEIPTED,
            source=legs.source,
            destination=legs.destination,
            marker=self._marker(message) if isinstance(legs.destination, SolanaLeg) else None,
            log=steps,
            written_ms=ground.now_ms(),
        )

    def _marker(self, message: Message) -> Marker:
        asset, base = self._ground.asset, self._ground.signers[0].public
        seed, address = crossing_marker(asset.genesis, asset.mint, base, message.crossing_id)
        return Marker(address, base, seed)

    # Both sides

    async def _legs(self, message: Message) -> _Legs:
        if message.destination_tx is None:
            raise Internal(f"message {message.id.hex()} is final, and names no transaction")
        found: list[Found] = []
        source: Leg = BsvLeg(message.source_tx)
        if message.direction is Direction.IN:
            came = await self._came(message)
            found.append(came)
            source = came.leg
        if message.ends_on_bsv:
            issuances = message.facts.get("issuances", ())
            certificates = tuple((str(name), int(at), int(wh)) for name, at, wh in issuances)
            destination: Leg = BsvLeg(message.destination_tx, certificates)
        else:
            paid = await self._paid(message, message.destination_tx)
            found.append(paid)
            destination = paid.leg
        raws = {str(each.leg.signature): each.raw for each in found if each.raw is not None}
        return _Legs(source, destination, raws)

    async def _came(self, message: Message) -> Found:
        """The transaction that tokens came by."""
        found = await self._sources.transaction(message.source_tx, message.facts.get("slot"))
        source = message.facts.get("source")
        account = None if source is None else Pubkey.from_string(source)
        return replace(found, leg=replace(found.leg, account=account))

    async def _paid(self, message: Message, signature: bytes) -> Found:
        """The transaction that tokens were released by, or given back: our own, or, where its row is not here, as
        the cluster tells it."""
        row = await self._ground.store.get(RELEASES, signature)
        slot = message.facts["refund_slot" if message.is_refund else "slot"]
        if row is None:
            found = await self._sources.transaction(signature, slot)
        else:
            found = Found(SolanaLeg(Signature.from_bytes(signature), slot), row["raw"])
        return replace(found, leg=replace(found.leg, account=Pubkey.from_string(message.facts["paid_to"])))


async def whole_receipt(ground: RegistryGround, message_id: bytes) -> bytes | None:
    """A message's receipt with all its proofs, as it is handed out (`receipt.Receipt.document`); None while there
    is none."""
    row = await ground.store.get(RECEIPTS, message_id)
    if row is None:
        return None
    statement = read_statement(orjson.loads(row["receipt"]))
    completion = await _completion(ground, message_id)
    txids = [leg.txid for leg in (statement.source, statement.destination) if isinstance(leg, BsvLeg)]
    if completion is not None:
        txids.append(completion)
    proofs = await _bsv_proofs(ground, txids)
    return Receipt(statement, row["signature"], dict(row["solana"]), proofs, completion).document()


async def _completion(ground: RegistryGround, message_id: bytes) -> bytes | None:
    """The txid of what withdrew an exit's certificate: of the last one, where an earlier one was evicted."""
    row = await ground.store.get(MESSAGES, message_id)
    txid = None if row is None else row["facts"].get("completion")
    return None if txid is None else bytes.fromhex(txid)  # in the order of the wire


async def _bsv_proofs(ground: RegistryGround, txids: Sequence[bytes]) -> dict[str, BsvProof]:
    raws, proofs = await load_raws(ground.store, txids), await proofs_of(ground, txids)
    found: dict[str, BsvProof] = {}
    for txid, raw in raws.items():
        if (proof := proofs.get(txid)) is not None:
            header = None if proof.header is None else proof.header.raw
            found[txid[::-1].hex()] = BsvProof(raw, proof.height, proof.path, header)
    return found
