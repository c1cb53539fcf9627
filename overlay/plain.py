"""Plain spends, recognised without the script machine: P2PKH and PushDrop, signed for all inputs and outputs.

What is said here is only ever yes. A spend of any other form, or one that is wrong, is for the machine to judge, so
that there is one judge of what is invalid. The gain is in the digest: the machine hashes the whole transaction for
each input, here what the inputs have in common is hashed once.
"""

from __future__ import annotations

from typing import Final

from overlay import pushdrop
from overlay.keys import CURVE_ORDER, verify
from overlay.sdk import hash160
from overlay.sighash import ALL_FORKID, Sighasher
from overlay.transaction import Output

_P2PKH_BYTES: Final = 25
_KEY_BYTES: Final = 33
_LARGEST_SIGNATURE: Final = 72
_HALF_ORDER: Final = CURVE_ORDER // 2


def is_plainly_signed(hasher: Sighasher, index: int, unlocking: bytes, source: Output) -> bool:
    """Whether input `index` spends `source` by one valid signature in the one way that everybody writes it."""
    if not unlocking or unlocking[0] > _LARGEST_SIGNATURE + 1:
        return False
    end = 1 + unlocking[0]
    signature, rest = unlocking[1:end], unlocking[end:]
    if len(signature) < 9 or signature[-1] != ALL_FORKID or not _is_strict(signature[:-1]):
        return False
    key = _key_of(source.script, rest)
    return key is not None and verify(signature[:-1], hasher.digest(index, source), key)


def _key_of(script: bytes, rest: bytes) -> bytes | None:
    """The 33 bytes of the key that must have signed, which nothing verifies under when they are no point of the
    curve; None when the script is of neither form, or not written the shortest way. `rest` is what follows the
    signature in the unlocking script."""
    if len(script) == _P2PKH_BYTES:
        key = rest[1:]
        if len(key) != _KEY_BYTES or rest[0] != _KEY_BYTES:
            return None
        return key if script == b"\x76\xa9\x14" + hash160(key) + b"\x88\xac" else None
    found = None if rest else pushdrop.decode(script)
    if found is None or pushdrop.lock(found.locking_key, found.fields) != script:
        return None
    return found.locking_key


def _is_strict(der: bytes) -> bool:
    """Whether a signature is strict DER with a low S: written again it is the same."""
    size = len(der)
    if size > _LARGEST_SIGNATURE - 1 or der[0] != 0x30 or der[1] != size - 2 or der[2] != 0x02:
        return False
    middle = 4 + der[3]
    if middle + 2 > size or der[middle] != 0x02 or middle + 2 + der[middle + 1] != size:
        return False
    r, s = der[4:middle], der[middle + 2 :]
    if not _is_number(r) or not _is_number(s):
        return False
    return 0 < int.from_bytes(r, "big") < CURVE_ORDER and 0 < int.from_bytes(s, "big") <= _HALF_ORDER


def _is_number(digits: bytes) -> bool:
    """A positive number in the fewest bytes."""
    if not digits or digits[0] & 0x80:
        return False
    return len(digits) == 1 or digits[0] != 0 or bool(digits[1] & 0x80)
