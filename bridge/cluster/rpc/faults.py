"""The errors of Solana's JSON-RPC: JSON-RPC 2.0's own, and those that validators add.

They leave the room as they are: a client of Solana knows these numbers, and not the node's own codes.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class RpcCode(IntEnum):
    """Numbers as validators answer them."""

    PARSE = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL = -32603
    BLOCK_CLEANED_UP = -32001
    PREFLIGHT_FAILED = -32002
    SIGNATURE_FAILED = -32003
    BLOCK_NOT_AVAILABLE = -32004
    NODE_UNHEALTHY = -32005
    SLOT_SKIPPED = -32009
    UNSUPPORTED_VERSION = -32015
    MIN_CONTEXT_SLOT = -32016


class RpcFault(Exception):
    """An error that a call is answered with. `data` is JSON, or None for none."""

    def __init__(self, code: RpcCode, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def body(self) -> dict[str, Any]:
        """The member `error` of a reply."""
        told: dict[str, Any] = {"code": int(self.code), "message": self.message}
        return told if self.data is None else told | {"data": self.data}


def invalid(message: str) -> RpcFault:
    """Parameters that cannot be read."""
    return RpcFault(RpcCode.INVALID_PARAMS, message)
