"""Messages as payments on Solana: which token account a release, or a refund, goes to.

A release goes to the associated account of the wallet that the exit names, made where it is missing. A refund goes
back to the very token account that the tokens came from, which must be there; tokens that were minted straight into
custody came from none, and go to the wallet of the meter that they were minted for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from solders.pubkey import Pubkey

from bridge.mirror.ground import Asset
from bridge.mirror.message import Message
from bridge.mirror.states import Direction, Hold
from bridge.programs.release import Crossing
from bridge.programs.tokens import associated_account
from bridge.records import READINGS
from store.port import Document, Key, Reader


class Unpayable(Exception):
    """A message that no payment can be made for; `code` is what it is held for."""

    def __init__(self, code: Hold, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(slots=True)
class Crossings:
    """Messages with their payments, and those that cannot be paid, with the reason."""

    payable: list[tuple[Message, Crossing]] = field(default_factory=list)
    faulty: list[tuple[Message, Unpayable]] = field(default_factory=list)


async def crossings_of(messages: Sequence[Message], asset: Asset, reader: Reader) -> Crossings:
    """Each message's payment; a refund's is of the crossing back."""
    keys = {key for each in messages if (key := _minted_for(each)) is not None}
    readings = await reader.get_many(READINGS, sorted(keys)) if keys else {}
    found = Crossings()
    for message in messages:
        try:
            found.payable.append((message, crossing_of(message, asset, readings)))
        except Unpayable as fault:
            found.faulty.append((message, fault))
    return found


def crossing_of(message: Message, asset: Asset, readings: Mapping[Key, Document]) -> Crossing:
    """A message's payment; `readings` has that of a message by a meter. Raises `Unpayable`."""
    wallet, account = _payee(message, asset, readings)
    if account == asset.custody:
        raise Unpayable(Hold.DESTINATION_UNUSABLE, f"{account} is the bridge's own custody")
    return Crossing(
        key=message.crossing_id,
        message=message.id,
        destination=account,
        wallet=wallet,
        units=message.units,
        outpoint=None if message.is_refund else message.source_event,
    )


def _payee(message: Message, asset: Asset, readings: Mapping[Key, Document]) -> tuple[Pubkey | None, Pubkey]:
    """Whose account it is, where that may be made, and the account."""
    if not message.is_refund:
        wallet = _address(message.recipient)
        return wallet, associated_account(wallet, asset.mint, asset.token_program)
    if (source := message.facts.get("source")) is not None:
        return None, _address(source)
    reading = readings.get(_minted_for(message) or b"")
    if reading is None:
        raise Unpayable(Hold.DESTINATION_UNUSABLE, "it is not known whom the tokens came from")
    wallet = _address(reading["wallet"])
    return wallet, associated_account(wallet, asset.mint, asset.token_program)


def _minted_for(message: Message) -> bytes | None:
    """The key of the reading whose tokens were minted into custody; None of any other message."""
    if message.direction is not Direction.IN or message.facts.get("source") is not None:
        return None
    readings = message.facts.get("readings") or ()
    return bytes.fromhex(readings[0]) if readings else None


def _address(text: str) -> Pubkey:
    try:
        return Pubkey.from_string(text)
    except ValueError:
        raise Unpayable(Hold.ADDRESS_MALFORMED, f"{text[:64]!r} is no Solana address") from None
