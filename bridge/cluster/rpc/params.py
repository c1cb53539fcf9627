"""Reading parameters: positions in a list, and the configuration object that may follow them.

An explicit `null` is an absent one: several clients send `null` for what their user left out.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeVar, cast

import base58
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.cluster.rpc.faults import invalid
from bridge.solana.rpc import Commitment

U64_MOST: Final = 2**64 - 1
_COMMITMENTS: Final = {
    "processed": "processed",
    "confirmed": "confirmed",
    "finalized": "finalized",
    "recent": "processed",
    "single": "confirmed",
    "singleGossip": "confirmed",
    "root": "finalized",
    "max": "finalized",
}
_ADDRESS_CHARS: Final = 44
_SIGNATURE_CHARS: Final = 88

T = TypeVar("T")


class Config:
    """A configuration object; every getter answers its default for what is absent or null."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def raw(self, name: str) -> Any:
        return self._values.get(name)

    def flag(self, name: str) -> bool:
        value = self._values.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise invalid(f"Invalid params: {name} must be true or false")
        return value

    def integer(self, name: str, default: int | None = None, most: int = U64_MOST) -> int | None:
        value = self._values.get(name)
        return default if value is None else whole(value, name, most)

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or value not in choices:
            raise invalid(f"Invalid params: unknown variant of {name}, expected one of {', '.join(choices)}")
        return value

    def signature(self, name: str) -> Signature | None:
        value = self._values.get(name)
        return None if value is None else signature(value)

    def section(self, name: str) -> Config | None:
        """An object within the object; None when it is absent."""
        value = self._values.get(name)
        return None if value is None else _config(value, name)

    def items(self, name: str, most: int) -> list[Any]:
        value = self._values.get(name)
        return [] if value is None else listed(value, name, most)

    @property
    def commitment(self) -> Commitment:
        return commitment(self._values.get("commitment"))

    @property
    def min_context_slot(self) -> int | None:
        return self.integer("minContextSlot")


class Params:
    """The parameters of one call."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def raw(self, position: int) -> Any:
        return self._values[position] if position < len(self._values) else None

    def required(self, position: int, read: Callable[[Any], T]) -> T:
        """What `read` makes of a parameter that must be there."""
        value = self.raw(position)
        if value is None:
            raise invalid(f"`params` should have at least {position + 1} argument(s)")
        return read(value)

    def address(self, position: int) -> Pubkey:
        return self.required(position, address)

    def signature(self, position: int) -> Signature:
        return self.required(position, signature)

    def integer(self, position: int) -> int:
        return self.required(position, whole)

    def text(self, position: int) -> str:
        return self.required(position, _text)

    def listed(self, position: int, most: int) -> list[Any]:
        return self.required(position, lambda value: listed(value, "list", most))

    def config(self, position: int) -> Config:
        value = self.raw(position)
        return _NO_CONFIG if value is None else _config(value, "configuration")


NO_PARAMS: Final = Params(())
_NO_CONFIG: Final = Config({})


def commitment(value: Any) -> Commitment:
    """A commitment by name, also by one of its old names; finalized when there is none."""
    if value is None:
        return "finalized"
    known = _COMMITMENTS.get(value) if isinstance(value, str) else None
    if known is None:
        raise invalid("Invalid params: unknown commitment, expected processed, confirmed or finalized")
    return cast(Commitment, known)


def address(value: Any) -> Pubkey:
    """A base58 address (32 B)."""
    if not isinstance(value, str) or len(value) > _ADDRESS_CHARS:
        raise invalid("Invalid param: WrongSize")
    try:
        return Pubkey.from_string(value)
    except ValueError:
        raise invalid("Invalid param: Invalid") from None


def signature(value: Any) -> Signature:
    """A base58 signature (64 B)."""
    if not isinstance(value, str) or len(value) > _SIGNATURE_CHARS:
        raise invalid("Invalid param: WrongSize")
    try:
        return Signature.from_string(value)
    except ValueError:
        raise invalid("Invalid param: Invalid") from None


def whole(value: Any, name: str = "value", most: int = U64_MOST) -> int:
    """A whole number from 0."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise invalid(f"Invalid params: {name} must be an integer from 0 to {most}")
    return value


def listed(value: Any, name: str, most: int) -> list[Any]:
    """A list of at most so many entries."""
    if not isinstance(value, list):
        raise invalid(f"Invalid params: {name} must be an array")
    if len(value) > most:
        raise invalid(f"Too many inputs provided; max {most}")
    return value


def binary(value: Any, encoding: str, most_bytes: int) -> bytes:
    """Bytes that were sent as base58 or base64."""
    text = _text(value)
    # Both encodings need more characters than bytes; base58 also costs the square of its length.
    if len(text) > most_bytes * 2:
        raise invalid(f"{encoding} encoded data too large: {len(text)} characters (max: {most_bytes} bytes)")
    try:
        data = b64decode(text, validate=True) if encoding == "base64" else base58.b58decode(text)
    except ValueError:
        raise invalid(f"invalid {encoding} encoding") from None
    if len(data) > most_bytes:
        raise invalid(f"decoded data too large: {len(data)} bytes (max: {most_bytes} bytes)")
    return data


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise invalid("Invalid params: expected a string")
    return value


def _config(value: Any, name: str) -> Config:
    if not isinstance(value, dict):
        raise invalid(f"Invalid params: {name} must be an object")
    return Config(value)
