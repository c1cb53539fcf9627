"""`metawatt token`: a token for a user, made with the node's own secret."""

from __future__ import annotations

import sys
from uuid import UUID

from api.node import user_tokens
from config.errors import BadRequest, ErrorCode
from config.secrets import node_key_hex
from config.settings import Settings
from energytag.tokens import MOST_HOURS
from overlay.clock import system_now_ms
from overlay.keys import PrivateKey


def run(settings: Settings, user_id: str, hours: float | None) -> None:
    """Print a token, which is good at the node of these settings as long as it has such a user."""
    try:
        named = str(UUID(user_id))
    except ValueError:
        raise BadRequest(f"{user_id} is no user's id", ErrorCode.INVALID_FIELD) from None
    if hours is not None and not 0 < hours <= MOST_HOURS:
        raise BadRequest(f"hours must be above 0 and at most {MOST_HOURS}", ErrorCode.INVALID_FIELD)
    key = PrivateKey.from_hex(node_key_hex(settings).get_secret_value())
    sys.stdout.write(user_tokens(settings, key, system_now_ms).issue(named, hours).token + "\n")
