"""What a final transaction did, as rows of MOVEMENTS.

    _id   slot u64 BE · signature 64 B · place 6 B; the place is the instruction's path, or ffff and a number
          for what is of the transaction as a whole
    kind  mint | burn | transfer, decoded from instructions that explain every balance to the base unit;
          unexplained, where they do not: one row for the transaction and mint, and none of the others;
          event, what a watched program's log claims: a hint for people, never counted

Of movements: `mint`, `account` (the token account it is about: of a transfer the watched one, else where it
goes to), `owner`, `source`, `destination`, `authority` (all base58 or None), `units`, `fee` (base units),
`path`, `readings` (keys of the readings that our own mint is of, empty when it is of others).
Of what is unexplained: `mint`, `account` (the mint's), `units` (the change of supply), `problems`.
Of events: `account` (the program's address), `name`, `fields`, `depth`, and `is_truncated` where the log was cut
short, or is doubtful.
All: `slot`, `signature` (base58), `block_time` (epoch seconds or None), `memos` (texts, whoever wrote them,
of a bounded length).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from solders.pubkey import Pubkey

from bridge.programs.events import Event, events
from bridge.programs.idl import Idl
from bridge.programs.instructions import Kind, TokenInstruction, calls
from bridge.programs.movements import Movements, movements
from bridge.solana.rpc import SeenTransaction
from store.port import Document
from store.values import INT64_MAX

UNEXPLAINED: Final = "unexplained"
EVENT: Final = "event"
KINDS: Final = (*Kind, UNEXPLAINED, EVENT)

MEMO_PROGRAMS: Final = frozenset(
    map(
        Pubkey.from_string,
        (
            "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo",
            "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr",
            "Memo4c2pN8afCj432Lb7RMVKi9PbQnnW7ewFFaV3oAH",
        ),
    )
)

MOST_MEMO_CHARACTERS: Final = 1024
"""Of all memos of a transaction together; more is cut off. Memos of this node's kind are below 400."""
_MOST_MEMOS: Final = 16
_WHOLE: Final = b"\xff\xff"
_EVENT: Final = b"\xff\xfe"


def transaction_key(seen: SeenTransaction) -> bytes:
    """What the keys of all rows of a transaction begin with; they sort as slots do."""
    return seen.slot.to_bytes(8, "big") + bytes(seen.signature)


def rows_of(
    seen: SeenTransaction, mints: Sequence[Pubkey], watched: Collection[Pubkey], readings: Sequence[bytes] = ()
) -> list[Document]:
    """The movements of `mints`. `readings` are those that our own transaction is to mint, in their order."""
    common = _common(seen)
    rows: list[Document] = []
    for mint in mints:
        told = movements(seen, mint)
        if problems := (*told.problems, *too_large(told)):
            rows.append(common | _unexplained(seen, mint, told.supply_change, problems))
        else:
            rows += _movements(seen, told, watched, readings, common)
    return rows


def _common(seen: SeenTransaction) -> Document:
    return {
        "slot": seen.slot,
        "signature": str(seen.signature),
        "block_time": seen.block_time,
        "memos": memos(seen),
    }


def memos(seen: SeenTransaction) -> list[str]:
    """The texts of a transaction's memos, in order, as far as they are short together. Anybody may write anything,
    and each row of the transaction has them."""
    found: list[str] = []
    left = MOST_MEMO_CHARACTERS
    for call in calls(seen):
        if call.program in MEMO_PROGRAMS and left > 0 and len(found) < _MOST_MEMOS:
            found.append(call.data[: 4 * left].decode(errors="replace")[:left])
            left -= len(found[-1])
    return found


def too_large(told: Movements) -> tuple[str, ...]:
    """A mint with a supply of 2^63 base units and more is beyond what any sum here can hold."""
    amounts = (abs(told.supply_change), *(each.units for each in told.instructions))
    return ("Amounts of 2^63 base units and more",) if max(amounts) > INT64_MAX else ()


def _unexplained(seen: SeenTransaction, mint: Pubkey, supply_change: int, problems: Sequence[str]) -> Document:
    return {
        "_id": transaction_key(seen) + _WHOLE + bytes(mint)[:4],
        "kind": UNEXPLAINED,
        "mint": str(mint),
        "account": str(mint),
        "units": max(-INT64_MAX, min(INT64_MAX, supply_change)),
        "problems": list(problems),
    }


def _movements(
    seen: SeenTransaction,
    told: Movements,
    watched: Collection[Pubkey],
    readings: Sequence[bytes],
    common: Document,
) -> list[Document]:
    owners = {balance.account: balance.owner for balance in (*seen.pre_tokens, *seen.post_tokens)}
    own = readings_by_mint(told.instructions, readings)
    rows = []
    for index, instruction in enumerate(told.instructions):
        account = _subject(instruction, watched)
        rows.append(
            common
            | _movement(instruction)
            | {
                "_id": transaction_key(seen) + instruction.path.packed(),
                "account": _text(account),
                "owner": _text(owners.get(account)),
                "readings": own.get(index, []),
            }
        )
    return rows


def _movement(instruction: TokenInstruction) -> dict[str, Any]:
    return {
        "kind": instruction.kind.value,
        "mint": _text(instruction.mint),
        "source": _text(instruction.source),
        "destination": _text(instruction.destination),
        "authority": _text(instruction.authority),
        "units": instruction.units,
        "fee": instruction.fee,
        "path": list(instruction.path),
    }


def _subject(instruction: TokenInstruction, watched: Collection[Pubkey]) -> Pubkey:
    """The token account that a movement is found by; each has one side at least."""
    sides = [side for side in (instruction.destination, instruction.source) if side is not None]
    return next((side for side in sides if side in watched), sides[0])


def readings_by_mint(instructions: Sequence[TokenInstruction], readings: Sequence[bytes]) -> dict[int, list[bytes]]:
    """The readings of each mint, by the instruction's index: one each, or all of them where a mint was left
    out (as energy_token does with what it minted before) and nobody can say by order which is whose."""
    at = [index for index, each in enumerate(instructions) if each.kind is Kind.MINT] if readings else []
    if len(at) == len(readings):
        return {index: [key] for index, key in zip(at, readings, strict=True)}
    return {index: list(readings) for index in at}


def hints_of(seen: SeenTransaction, idls: Mapping[Pubkey, Idl]) -> list[Document]:
    """The events that the programs of `idls` logged."""
    told = events(seen, idls)
    doubtful = told.is_truncated or bool(told.problems)
    return [
        _common(seen) | _event(each, is_truncated=doubtful) | {"_id": transaction_key(seen) + _event_place(number)}
        for number, each in enumerate(told.found)
    ]


def _event_place(number: int) -> bytes:
    return _EVENT + number.to_bytes(4, "big")


def _event(event: Event, *, is_truncated: bool) -> dict[str, Any]:
    return {
        "kind": EVENT,
        "account": str(event.program),
        "name": event.name,
        "fields": _plain(event.fields),
        "depth": event.depth,
        "is_truncated": is_truncated,
    }


def _plain(value: Any) -> Any:
    """As the store and JSON can hold it: addresses and large numbers as texts, bytes as hex."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int) and abs(value) > INT64_MAX:
        return str(value)
    return value if value is None or isinstance(value, int | str) else str(value)


def _text(address: Pubkey | None) -> str | None:
    return None if address is None else str(address)
