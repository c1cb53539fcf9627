"""How the commands come to a registry: its URL, and the token that they show.

The token is read from a file or from the environment, never from the command line, which others can see.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.errors import ErrorCode, NotFound, Unauthorized
from energytag.client import RegistryClient

TOKEN_VARIABLE: Final = "METAWATT_CLIENT_TOKEN"  # noqa: S105 - the name of a variable
NOBODY: Final = "00000000-0000-0000-0000-000000000000"
"""Stands for the user where the operator, who is none, acts."""


@dataclass(frozen=True, slots=True)
class Door:
    """A registry, and who comes to it."""

    url: str
    token: str

    @classmethod
    def of(cls, url: str, token_file: Path | None) -> Door:
        """`Unauthorized` when there is no token."""
        return cls(url, _token(token_file))

    def client(self) -> RegistryClient:
        return RegistryClient(self.url, token=self.token, timeout_secs=300)


def _token(file: Path | None) -> str:
    try:
        text = os.environ.get(TOKEN_VARIABLE, "") if file is None else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unauthorized(f"the token cannot be read: {error}") from None
    if not text.strip():
        raise Unauthorized(f"give --token-file, or set {TOKEN_VARIABLE}: `metawatt token` makes tokens")
    return text.strip()


async def user_of(registry: RegistryClient) -> str:
    """The user that the token is of; `NOBODY` for the operator's token."""
    try:
        return (await registry.users.me()).user_id
    except NotFound as error:
        if error.code is not ErrorCode.USER_UNKNOWN:
            raise
        return NOBODY
