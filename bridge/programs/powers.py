"""What others may do to a mint's tokens: the authorities that it names beside the one that mints.

Nothing of it is in this node's hands. Token-2022 keeps most of it in extensions: behind the kind of account each
has its number u16, its length u16, and its data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from solders.pubkey import Pubkey
from solders.token.state import Mint

_MINT_BYTES: Final = 82
_EXTENSIONS_FROM: Final = 166
_HEAD_BYTES: Final = 4
_KEY_BYTES: Final = 32
_TRANSFER_FEE: Final = 1
_NOT_TRANSFERABLE: Final = 9
_TRANSFER_HOOK: Final = 14
_FEE_POINTS: Final = (slice(88, 90), slice(106, 108))
"""Where a fee extension says how many basis points are withheld: by the older rule, and by the newer one."""
_DEFAULT_STATE: Final = 6
_FROZEN: Final = 2
_POWERS: Final = {
    1: "set a fee on transfers",
    3: "close the mint while there are no tokens",
    12: "move and burn anybody's tokens",
    14: "have a program of his own refuse transfers",
    26: "stop minting and transfers",
}
"""By the number of an extension whose data begins with who holds it."""


def powers_of_others(data: bytes, authority: Pubkey) -> list[str]:
    """What who but `authority` may do, for people; `data` is the mint's account."""
    mint = Mint.from_bytes(data[:_MINT_BYTES])
    held = [(_holder(part), _POWERS[number]) for number, part in _extensions(data) if number in _POWERS]
    held.append((mint.freeze_authority, "freeze token accounts"))
    return [f"{holder} may {power}" for holder, power in held if holder not in (None, authority)]


def begins_frozen(data: bytes) -> bool:
    """Whether token accounts of the mint are made frozen, so that nothing can be minted to a new one."""
    return any(number == _DEFAULT_STATE and part[:1] == bytes([_FROZEN]) for number, part in _extensions(data))


def hindrance(data: bytes) -> str | None:
    """Why tokens of the mint cannot be held in custody and given back to the base unit; None when they can. With a
    fee on transfers whoever is paid gets less than was sent, and so does custody: also where the fee is 0, as long
    as somebody may raise it."""
    found = dict(_extensions(data))
    fee = found.get(_TRANSFER_FEE)
    if fee is not None and (_holder(fee) is not None or any(any(fee[each]) for each in _FEE_POINTS)):
        return "there is a fee on its transfers, or somebody may set one"
    if _NOT_TRANSFERABLE in found:
        return "it cannot be transferred"
    hook = found.get(_TRANSFER_HOOK)
    return "its transfers call a program" if hook is not None and any(hook) else None


def _extensions(data: bytes) -> Iterator[tuple[int, bytes]]:
    rest = data[_EXTENSIONS_FROM:]
    while len(rest) >= _HEAD_BYTES:
        end = _HEAD_BYTES + int.from_bytes(rest[2:4], "little")
        yield int.from_bytes(rest[:2], "little"), rest[_HEAD_BYTES:end]
        rest = rest[end:]


def _holder(part: bytes) -> Pubkey | None:
    """None where nobody is named."""
    key = part[:_KEY_BYTES]
    return Pubkey.from_bytes(key) if len(key) == _KEY_BYTES and any(key) else None
