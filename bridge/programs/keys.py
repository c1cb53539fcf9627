"""Who signs for Solana: a key in a file, as solana-keygen writes it, or whatever else can sign a message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from config.secrets import SecretUnusable, secret_text

_SEED_BYTES = 32
_KEYPAIR_BYTES = 64


class Signer(Protocol):
    """A key that signs, near or far: a file, a KMS, a hardware module."""

    @property
    def public(self) -> Pubkey: ...

    async def sign(self, message: bytes) -> Signature:
        """The Ed25519 signature of a transaction's message, as serialised. Raises `Unavailable` when the key
        cannot be reached."""
        ...


class FileSigner:
    """A key in memory, from a file that only its owner may read."""

    def __init__(self, keypair: Keypair) -> None:
        self._keypair = keypair
        self._public = keypair.pubkey()

    @classmethod
    def load(cls, path: Path, *, make: bool = False) -> FileSigner:
        """The signer of a file, as `keypair_in` reads it."""
        return cls(keypair_in(path, make=make))

    @property
    def public(self) -> Pubkey:
        return self._public

    async def sign(self, message: bytes) -> Signature:
        return self._keypair.sign_message(message)

    def __repr__(self) -> str:
        return f"FileSigner({self.public})"


def keypair_in(path: Path, *, make: bool = False) -> Keypair:
    """The key in a file; with `make`, one that is missing is made first, with mode 0600.

    Raises `SecretUnusable` when it is missing, open to others, or no JSON array of 64 bytes whose second half is
    the public key of the first.
    """
    return _keypair(path, secret_text(path, _new_key if make else None))


def _new_key() -> str:
    return json.dumps(list(bytes(Keypair())))


def _keypair(path: Path, text: str) -> Keypair:
    try:
        numbers = json.loads(text)
    except (ValueError, RecursionError):  # neither the text nor the decoder's message may reach a log
        numbers = None
    if not _is_keypair(numbers):
        raise SecretUnusable(f"{path}: a Solana key is a JSON array of {_KEYPAIR_BYTES} bytes") from None
    secret = bytes(numbers)
    keypair = Keypair.from_seed(secret[:_SEED_BYTES])
    if bytes(keypair.pubkey()) != secret[_SEED_BYTES:]:
        raise SecretUnusable(f"{path}: the public half does not belong to the secret half")
    return keypair


def _is_keypair(numbers: object) -> bool:
    return (
        isinstance(numbers, list)
        and len(numbers) == _KEYPAIR_BYTES
        and all(type(number) is int and 0 <= number <= 255 for number in numbers)
    )
