"""The one door to bsv-sdk: its native module, checked at import.

bsv-sdk 2.4.0's native module carries the curve and the script VM; without it everything would run about a
hundred times slower, so its absence stops the start. Of the SDK's Python side nothing is used on the way
of a submission. `import bsv` puts its own folder first on `sys.path`, where `overlay` or `storage` would be
shadowed; whoever needs the Python side calls `load_sdk`, which takes that entry out again.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

from config.errors import ErrorCode, Internal

SDK_VERSION = "2.4.0"

try:
    import _bsv_native as _native
except ImportError as error:  # pragma: no cover - depends on the platform
    raise Internal(
        f"bsv-sdk's native module cannot be loaded ({error}); install bsv-sdk=={SDK_VERSION} from a wheel "
        "for this platform",
        ErrorCode.INTERNAL,
    ) from error

try:
    _installed = version("bsv-sdk")
except PackageNotFoundError as error:  # pragma: no cover
    raise Internal(f"bsv-sdk=={SDK_VERSION} is not installed") from error
if _installed != SDK_VERSION:
    raise Internal(
        f"bsv-sdk {_installed} is installed, {SDK_VERSION} is required (its native module is not a public API)"
    )

native: Any = _native
parse_script: Any = native.parse_script_chunks
run_scripts: Any = native.spend_validate


def load_sdk(module: str = "bsv") -> ModuleType:
    """Import a module of bsv-sdk and undo what it does to `sys.path`."""
    loaded = import_module(module)
    folder = str(Path(str(import_module("bsv").__file__)).parent)
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    return loaded


def hash256(data: bytes) -> bytes:
    """SHA-256 twice."""
    return sha256(sha256(data).digest()).digest()


def hash160(data: bytes) -> bytes:
    """RIPEMD-160 of SHA-256."""
    return _ripemd160(sha256(data).digest())


def _ripemd160_of_openssl(data: bytes) -> bytes:
    return hashlib.new("ripemd160", data, usedforsecurity=False).digest()


def _ripemd160_of_cryptodome(data: bytes) -> bytes:
    from Cryptodome.Hash import RIPEMD160  # noqa: PLC0415 - only OpenSSL 3.0.0 to 3.0.6 are without it

    return RIPEMD160.new(data).digest()


def _chosen_ripemd160() -> Callable[[bytes], bytes]:
    """OpenSSL's, four times as fast, where it has it."""
    try:
        _ripemd160_of_openssl(b"")
    except ValueError:  # pragma: no cover - depends on the platform
        return _ripemd160_of_cryptodome
    return _ripemd160_of_openssl


_ripemd160 = _chosen_ripemd160()
