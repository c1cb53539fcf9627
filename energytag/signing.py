"""Transactions that a user's own wallet signs: what it is asked to make, and whether it made that.

    prepare        pieces → what has to come first in the transaction: coins spent, tokens made
    create_action  that → arguments of BRC-100's createAction, with the newest proofs of the coins
    check_signed   that, and the signed transaction → its envelope, or SIGNED_OTHERWISE

What the wallet adds after that, funds for the fee and change, is its own affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from certificates.token import OWNER_PROTOCOL, TOKEN_SATOSHIS
from config.errors import BadRequest, ErrorCode
from energytag.compose import lay_out
from energytag.delivery import BASKET_NAME, DELIVERIES, counterparty_of, instructions
from energytag.ground import RegistryGround
from energytag.plan import Holding, Issue, Made, Move, Piece
from overlay.envelope import Envelope, EnvelopeLimits, parse_envelope
from overlay.hydrate import load_kept, ordered
from overlay.pushdrop import encode_push
from overlay.sighash import ALL_FORKID
from overlay.transaction import Transaction, read_outpoint, show_outpoint
from overlay.wire import write_beef
from store.port import Document, Reader

UNLOCKING_BYTES: Final = 73
"""A push of a DER signature and the byte that tells what it covers."""
_DESCRIPTION: Final = "Move granular certificates"


@dataclass(frozen=True, slots=True)
class Spend:
    """A coin to spend. `key_id` and `sender` (hex, or "anyone") tell how it is unlocked with the owner's protocol;
    both are None when only the wallet itself knows."""

    outpoint: bytes
    key_id: str | None
    sender: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """A token to make. `instructions` go into the wallet's basket when the token comes back to it."""

    script: bytes
    instructions: str | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the transaction must begin with, inputs and outputs in this order."""

    spends: tuple[Spend, ...]
    targets: tuple[Target, ...]

    def as_json(self) -> dict[str, Any]:
        """As it is kept in an action's memo."""
        return {
            "inputs": [
                {"outpoint": show_outpoint(each.outpoint), "key_id": each.key_id, "sender": each.sender}
                for each in self.spends
            ],
            "outputs": [{"script": each.script.hex(), "instructions": each.instructions} for each in self.targets],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Prepared:
        return cls(
            tuple(
                Spend(read_outpoint(each["outpoint"]), each["key_id"], each["sender"]) for each in value["inputs"]
            ),
            tuple(Target(bytes.fromhex(each["script"]), each["instructions"]) for each in value["outputs"]),
        )


async def prepare(ground: RegistryGround, pieces: Sequence[Piece]) -> Prepared:
    """What a user's wallet has to sign for these pieces. All coins must be in that wallet:
    `BadRequest(SIGNATURE_AWAITED)` when some are in the registry's keeping, or there is none."""
    moves = [piece for piece in pieces if isinstance(piece, Move)]
    holdings = [move.holding for move in moves]
    if not holdings or any(isinstance(piece, Issue) for piece in pieces):
        raise BadRequest("a wallet signs for certificates that it holds", ErrorCode.SIGNATURE_AWAITED)
    if any(holding.key_id is not None for holding in holdings):
        raise BadRequest(
            "some of the certificates are in the registry's keeping, others in the user's wallet: move them apart",
            ErrorCode.SIGNATURE_AWAITED,
        )
    known = await ground.store.get_many(DELIVERIES, [holding.outpoint for holding in holdings])
    spends = tuple(_spend(holding, known.get(holding.outpoint)) for holding in holdings)
    made = lay_out(pieces, holdings[0].outpoint, ground.keyring)
    account_id = holdings[0].account_id
    return Prepared(spends, tuple(_target(each, account_id) for each in made))


def unlocking_script(signature: bytes) -> bytes:
    """What unlocks a certificate, of its owner's DER signature over all inputs and outputs."""
    return encode_push(signature + bytes((ALL_FORKID,)))


def _spend(holding: Holding, delivery: Document | None) -> Spend:
    if delivery is None:
        return Spend(holding.outpoint, None, None)
    return Spend(holding.outpoint, delivery["key_id"], counterparty_of(delivery["sender"]))


def _target(made: Made, account_id: str) -> Target:
    if made.holder is None or made.lock is None or made.holder.is_custodial or made.holder.account_id != account_id:
        return Target(made.script)
    return Target(made.script, instructions(made.lock.key_id, made.lock.sender))


async def create_action(reader: Reader, prepared: Prepared) -> dict[str, Any]:
    """Arguments of BRC-100's createAction, as JSON, and beside them for each input how it is unlocked.

    The wallet does not send the transaction (`noSend`): it goes to the network when the registry has admitted it,
    and one that is refused has moved nothing."""
    level, name = OWNER_PROTOCOL
    return {
        "createAction": {
            "description": _DESCRIPTION,
            "inputBEEF": list(await _input_beef(reader, prepared)),
            "inputs": [
                {
                    "outpoint": show_outpoint(each.outpoint),
                    "unlockingScriptLength": UNLOCKING_BYTES,
                    "inputDescription": "Granular certificate",
                }
                for each in prepared.spends
            ],
            "outputs": [_output(each) for each in prepared.targets],
            "options": {"randomizeOutputs": False, "noSend": True},
        },
        "unlock": [
            None
            if each.key_id is None
            else {"protocolID": [level, name], "keyID": each.key_id, "counterparty": each.sender}
            for each in prepared.spends
        ],
    }


def _output(target: Target) -> dict[str, Any]:
    output: dict[str, Any] = {
        "lockingScript": target.script.hex(),
        "satoshis": TOKEN_SATOSHIS,
        "outputDescription": "Granular certificate",
    }
    if target.instructions is not None:
        output |= {"basket": BASKET_NAME, "customInstructions": target.instructions}
    return output


async def _input_beef(reader: Reader, prepared: Prepared) -> bytes:
    txids = list(dict.fromkeys(each.outpoint[:32] for each in prepared.spends))
    kept = await load_kept(reader, txids)
    if any(txid not in kept for txid in txids):
        raise BadRequest("a certificate's transaction was evicted meanwhile", ErrorCode.OUTPUT_UNKNOWN)
    entries = ordered(kept, txids)
    return write_beef([(Transaction.parse(entry.raw), entry.bump) for entry in entries])


def check_signed(prepared: Prepared, beef: bytes, limits: EnvelopeLimits | None = None) -> Envelope:
    """The envelope of a transaction that does what was prepared; `BadRequest(SIGNED_OTHERWISE)` for another, and
    as `parse_envelope` raises it. Signatures are verified when it is submitted."""
    envelope = parse_envelope(beef, limits)
    transaction = envelope.subject
    spent = [spend.outpoint for spend in transaction.inputs[: len(prepared.spends)]]
    if spent != [each.outpoint for each in prepared.spends]:
        raise BadRequest("the transaction does not spend first what was prepared", ErrorCode.SIGNED_OTHERWISE)
    made = [(output.satoshis, output.script) for output in transaction.outputs[: len(prepared.targets)]]
    if made != [(TOKEN_SATOSHIS, each.script) for each in prepared.targets]:
        raise BadRequest("the transaction does not make first what was prepared", ErrorCode.SIGNED_OTHERWISE)
    return envelope
