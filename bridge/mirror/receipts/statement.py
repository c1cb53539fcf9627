"""What a receipt states: one crossing of energy, with all that its message's id is made of, as the bridge signs it.

Solana's addresses, signatures and hashes are base58, those of BSV hex in display order; `units` are a text, for
they may be beyond 2^53. Transactions are named by signature or txid, which commit to their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from solders.hash import Hash, ParseHashError
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.mirror.ground import Asset
from bridge.mirror.message import Message, message_id, refund_id, solana_event
from bridge.mirror.states import Direction, Kind, State
from bridge.programs.instructions import Path
from certificates.canonical import canonical
from config.errors import BadRequest, ErrorCode
from overlay.transaction import read_outpoint, show_outpoint, txid_from_hex

FORMAT: Final = "metawatt bridge receipt"
VERSION: Final = 1
_MOST_TEXT: Final = 1000
"""Characters; a recipient has at most 128, and everything else fewer."""


class ReceiptMalformed(BadRequest):
    """These bytes are no receipt."""

    default_code = ErrorCode.PROOF_INVALID


@dataclass(frozen=True, slots=True)
class SolanaLeg:
    """What was done on Solana. `slot` is None where it is not known. `account` is the token account that tokens
    came from, or went to; `loaded` are the accounts that came from lookup tables, which the transaction's
    signatures do not name."""

    signature: Signature
    slot: int | None = None
    account: Pubkey | None = None
    loaded: tuple[Pubkey, ...] = ()

    def told(self) -> dict[str, Any]:
        return {
            "chain": "solana",
            "transaction": str(self.signature),
            "slot": self.slot,
            "account": None if self.account is None else str(self.account),
            "loaded": [str(each) for each in self.loaded],
        }


@dataclass(frozen=True, slots=True)
class BsvLeg:
    """What was done on BSV. `txid` as on the wire; `certificates` are the issuance id, output index and Wh of each
    that was issued."""

    txid: bytes
    certificates: tuple[tuple[str, int, int], ...] = ()

    def told(self) -> dict[str, Any]:
        return {
            "chain": "bsv",
            "transaction": self.txid[::-1].hex(),
            "certificates": [list(each) for each in self.certificates],
        }


Leg: TypeAlias = SolanaLeg | BsvLeg


@dataclass(frozen=True, slots=True)
class Marker:
    """The account that a transaction on Solana made so that no second one could do the same: at an address of
    `base`, with a seed that follows from the crossing's id."""

    address: Pubkey
    base: Pubkey
    seed: str

    def told(self) -> dict[str, Any]:
        return {"address": str(self.address), "base": str(self.base), "seed": self.seed}


@dataclass(frozen=True, slots=True)
class LogStep:
    """A step of the message as the log tells it: the entry's number and hash, and the edge in it."""

    number: int
    hash: bytes
    at_ms: int
    before: str | None
    after: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        return {
            "n": self.number,
            "hash": self.hash.hex(),
            "at_ms": self.at_ms,
            "from": self.before,
            "to": self.after,
            "facts": dict(self.facts),
        }


@dataclass(frozen=True, slots=True)
class Statement:
    """What the bridge says. Of `message` only what its id is made of counts, and its kind. `source_asset` is the
    mint, or the certificate's issuance id. `bsv_genesis` as on the wire."""

    bridge: bytes
    bsv_genesis: bytes
    asset: Asset
    message: Message
    source_asset: str
    outcome: State
    source: Leg
    destination: Leg
    marker: Marker | None
    log: tuple[LogStep, ...]
    written_ms: int

    @property
    def is_refund(self) -> bool:
        return self.outcome is State.REFUNDED

    @property
    def crossing_id(self) -> bytes:
        """What a payment on Solana was known by: the message's id, or that of its refund."""
        return refund_id(self.message.id) if self.is_refund else self.message.id

    @property
    def path(self) -> Path:
        """Which instruction of the source's transaction the message is of; of messages from Solana."""
        return Path.unpacked(self.message.source_event[Signature.LENGTH :])

    def computed_id(self) -> bytes:
        """The message's id, from all that it is made of."""
        is_in = self.message.direction is Direction.IN
        solana = bytes(self.asset.genesis)
        source_asset = bytes(self.asset.mint) if is_in else self.source_asset.encode()
        return message_id(
            src_genesis=solana if is_in else self.bsv_genesis,
            src_asset=source_asset,
            src_event=self.message.source_event,
            dst_genesis=self.bsv_genesis if is_in else solana,
            dst_recipient=self.message.recipient.encode(),
            units=self.message.units,
        )

    def told(self) -> dict[str, Any]:
        """As JSON."""
        message = self.message
        return {
            "format": FORMAT,
            "version": VERSION,
            "bridge": self.bridge.hex(),
            "chains": {"solana": str(self.asset.genesis), "bsv": self.bsv_genesis[::-1].hex()},
            "asset": _told_asset(self.asset),
            "message": {
                "id": message.id.hex(),
                "direction": message.direction.value,
                "kind": message.kind.value,
                "units": str(message.units),
                "source_asset": self.source_asset,
                "source_event": _told_event(message),
                "recipient": message.recipient,
            },
            "outcome": self.outcome.value,
            "source": self.source.told(),
            "destination": self.destination.told(),
            "marker": None if self.marker is None else self.marker.told(),
            "log": [step.told() for step in self.log],
            "written_ms": self.written_ms,
        }

    def text(self) -> bytes:
        """What the bridge signs."""
        return canonical(self.told())


def read_statement(value: Mapping[str, Any]) -> Statement:
    """A statement from JSON. Raises whatever it meets: `receipt.read_receipt` tells it."""
    if value["format"] != FORMAT or value["version"] != VERSION:
        raise ReceiptMalformed(f"not a {FORMAT} of version {VERSION}")
    asset, chains = value["asset"], value["chains"]
    marker = value["marker"]
    mirrored = Asset(
        genesis=_genesis(chains["solana"]),
        mint=Pubkey.from_string(asset["mint"]),
        token_program=Pubkey.from_string(asset["token_program"]),
        decimals=whole(asset["decimals"]),
        owner=Pubkey.from_string(asset["owner"]),
        custody=Pubkey.from_string(asset["custody"]),
        mode=asset["mode"] if asset["mode"] in ("lock", "burn") else _refuse("asset.mode"),
        mint_authority=Pubkey.from_string(asset["mint_authority"]),
    )
    return Statement(
        bridge=bytes.fromhex(value["bridge"]),
        bsv_genesis=txid_from_hex(chains["bsv"]),
        asset=mirrored,
        message=_message(value["message"], mirrored),
        source_asset=_text(value["message"]["source_asset"]),
        outcome=State(value["outcome"]),
        source=_leg(value["source"]),
        destination=_leg(value["destination"]),
        marker=None if marker is None else _marker(marker),
        log=tuple(map(_step, value["log"])),
        written_ms=whole(value["written_ms"]),
    )


def _genesis(text: str) -> Hash:
    try:
        return Hash.from_string(text)
    except ParseHashError as error:  # which is no ValueError
        raise ReceiptMalformed(f"{text!r} is no hash of a genesis block") from error


def _message(value: Mapping[str, Any], asset: Asset) -> Message:
    direction = Direction(value["direction"])
    event = _event(value["source_event"], direction)
    return Message(
        id=bytes.fromhex(value["id"]),
        direction=direction,
        kind=Kind(value["kind"]),
        asset=asset.name,
        units=_units(value["units"]),
        source_tx=event[: Signature.LENGTH if direction is Direction.IN else 32],
        source_event=event,
        recipient=_text(value["recipient"]),
        created_ms=0,
    )


def _event(text: str, direction: Direction) -> bytes:
    if direction is Direction.OUT:
        return read_outpoint(text)
    signature, _, path = text.partition("/")
    outer, inner, batch = map(int, path.split("."))
    return solana_event(bytes(Signature.from_string(signature)), Path(outer, inner, batch).packed())


def _told_event(message: Message) -> str:
    """`<signature>/<outer>.<inner>.<batch>`, or `<txid>.<vout>`."""
    if message.direction is Direction.OUT:
        return show_outpoint(message.source_event)
    path = Path.unpacked(message.source_event[Signature.LENGTH :])
    return f"{Signature.from_bytes(message.source_tx)}/{path.text}"


def _told_asset(asset: Asset) -> dict[str, Any]:
    return {
        "mint": str(asset.mint),
        "token_program": str(asset.token_program),
        "decimals": asset.decimals,
        "owner": str(asset.owner),
        "custody": str(asset.custody),
        "mode": asset.mode,
        "mint_authority": str(asset.mint_authority),
    }


def _leg(value: Mapping[str, Any]) -> Leg:
    if value["chain"] == "bsv":
        return BsvLeg(txid_from_hex(value["transaction"]), tuple(map(_certificate, value["certificates"])))
    account, slot = value["account"], value["slot"]
    return SolanaLeg(
        Signature.from_string(value["transaction"]),
        None if slot is None else whole(slot),
        None if account is None else Pubkey.from_string(account),
        tuple(map(Pubkey.from_string, value["loaded"])),
    )


def _certificate(value: Sequence[Any]) -> tuple[str, int, int]:
    issuance_id, index, wh = value
    return _text(issuance_id), whole(index), whole(wh)


def _marker(value: Mapping[str, Any]) -> Marker:
    return Marker(Pubkey.from_string(value["address"]), Pubkey.from_string(value["base"]), _text(value["seed"]))


def _step(value: Mapping[str, Any]) -> LogStep:
    before = value["from"]
    return LogStep(
        whole(value["n"]),
        bytes.fromhex(value["hash"]),
        whole(value["at_ms"]),
        None if before is None else _text(before),
        _text(value["to"]),
        dict(value["facts"]),
    )


def whole(value: Any) -> int:
    """A number that may be one; `ReceiptMalformed` otherwise."""
    if type(value) is not int or value < 0:
        raise ReceiptMalformed(f"{value!r} is no whole number")
    return value


def _units(value: Any) -> int:
    units = int(_text(value))
    if not 0 <= units < 2**64:
        raise ReceiptMalformed(f"{units} is no amount of tokens")
    return units


def _text(value: Any) -> str:
    if type(value) is not str or len(value) > _MOST_TEXT:
        raise ReceiptMalformed(f"not a text of at most {_MOST_TEXT} characters")
    return value


def _refuse(name: str) -> Any:
    raise ReceiptMalformed(f"{name} is none that there is")
