"""The node's own secrets: its private key and the admin token, each in a file that only its owner may read.

They are made at first start and never come from the command line, where other users could see them.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile

from pydantic import SecretStr

from config.errors import ErrorCode, MetawattError
from config.settings import Settings

_KEY_HEX_DIGITS = 64
_JWT_SECRET_CHARACTERS = 32
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class SecretUnusable(MetawattError):
    """A secret's file is missing, malformed, or open to others."""

    default_code = ErrorCode.SETTINGS_INVALID


def node_key_path(settings: Settings) -> Path:
    """Where the node's private key is kept."""
    return settings.node.private_key_file or settings.node.data_dir / "node.key"


def admin_token_path(settings: Settings) -> Path:
    """Where the admin token is kept, unless it is set outright."""
    return settings.node.data_dir / "admin.token"


def node_key_hex(settings: Settings) -> SecretStr:
    """The node's private key, 64 hex digits; made at first start unless its file was named by a setting."""
    path = node_key_path(settings)
    make = None if settings.node.private_key_file else (lambda: secrets.token_hex(32))
    text = secret_text(path, make).lower()
    if len(text) != _KEY_HEX_DIGITS or not set(text) <= set("0123456789abcdef"):
        raise SecretUnusable(f"{path}: a private key is {_KEY_HEX_DIGITS} hex digits, and nothing else")
    return SecretStr(text)


def admin_token(settings: Settings) -> SecretStr:
    """The bearer token of /admin: the one that is set, else the data folder's, made at first start."""
    if settings.node.admin_token is not None:
        return settings.node.admin_token
    path = admin_token_path(settings)
    text = secret_text(path, lambda: secrets.token_urlsafe(32))
    if not text:
        raise SecretUnusable(f"{path}: the file is empty; remove it, and a new token is made at the next start")
    return SecretStr(text)


def jwt_secret(settings: Settings) -> SecretStr | None:
    """The secret that users' tokens are signed with; None when no file is set."""
    path = settings.access.jwt_secret_file
    if path is None:
        return None
    text = secret_text(path, None)
    if len(text) < _JWT_SECRET_CHARACTERS:
        raise SecretUnusable(f"{path}: the secret of tokens has {_JWT_SECRET_CHARACTERS} characters at least")
    return SecretStr(text)


def exposure(path: Path) -> str | None:
    """What is wrong with a secret file's permissions, and the cure; None when only its owner may use it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        return f"{path} is open to other users (mode {mode:04o}); run: chmod 600 {path}"
    return None


def secret_text(path: Path, make: Callable[[], str] | None) -> str:
    """What a secret's file holds, without the space around it; made with `make` first, where it is missing and
    may be made. Raises `SecretUnusable` when it is missing, unreadable, or open to other users."""
    try:
        if make is not None and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_once(path, make())
        if fault := exposure(path):
            raise SecretUnusable(fault)
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretUnusable(f"{path}: cannot be used: {error}") from error


def _write_once(path: Path, text: str) -> None:
    """Write the file whole or not at all; of two processes that start at once, the first one's stays."""
    with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(file.name, path)  # the temporary file has mode 0600, and so has its second name
        except FileExistsError:
            return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
