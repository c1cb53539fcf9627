"""What goes wrong with a certificate token.

BadRequest
└── TokenMalformed     the bytes are not a certificate token
"""

from __future__ import annotations

from config.errors import BadRequest, ErrorCode


class TokenMalformed(BadRequest):
    """These fields are not a certificate token."""

    default_code = ErrorCode.TOKEN_MALFORMED
