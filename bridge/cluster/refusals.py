"""Why the cluster did not take a transaction, and the lost answer.

MetawattError
├── BadRequest
│   ├── Malformed            not a transaction, or beyond 1232 bytes      (JSON-RPC -32602)
│   ├── BadSignature         a signature does not fit                     (-32003)
│   └── PreflightFailed      the simulation before sending failed         (-32002)
└── Unavailable
    └── AnswerLost           a fault: it was done, but nobody may hear so (cut the connection)
"""

from __future__ import annotations

from bridge.cluster.executed import Simulated
from config.errors import BadRequest, ErrorCode, Unavailable


class Malformed(BadRequest):
    """Not a transaction that the cluster can read."""


class BadSignature(BadRequest):
    """Transaction signature verification failure."""


class PreflightFailed(BadRequest):
    """Transaction simulation failed; `simulated` tells how."""

    def __init__(self, message: str, simulated: Simulated) -> None:
        super().__init__(message)
        self.simulated = simulated


class AnswerLost(Unavailable):
    """The cluster did what was asked, and the answer is to be lost on the way."""

    default_code = ErrorCode.SOLANA_UNAVAILABLE
