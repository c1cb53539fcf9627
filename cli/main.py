"""The entry point of `metawatt`: runs a command, and is the one edge that turns its errors into an exit code.

0  done
1  it ran, and what was checked or played is not as it should be; or the node failed
2  the command line or the settings are wrong
3  something that the node needs is not to be had: storage, the chain, Solana or its history
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from config.errors import ErrorCode, MetawattError

_WRONG_USE = frozenset({ErrorCode.SETTINGS_INVALID, ErrorCode.LOOKUP_SERVICE_UNKNOWN})
_NOT_TO_BE_HAD = frozenset(
    {
        ErrorCode.STORAGE_UNAVAILABLE,
        ErrorCode.STORAGE_TOO_NEW,
        ErrorCode.CHAIN_UNAVAILABLE,
        ErrorCode.REGISTRY_UNAVAILABLE,
        ErrorCode.SOLANA_UNAVAILABLE,
        ErrorCode.HISTORY_GAP,
    }
)
_CURES = {
    ErrorCode.SETTINGS_INVALID: "`metawatt settings --markdown` lists every setting.",
    ErrorCode.STORAGE_UNAVAILABLE: "`metawatt doctor` looks at the storage.",
    ErrorCode.CHAIN_UNAVAILABLE: "`metawatt doctor` looks at the chain's services.",
    ErrorCode.SOLANA_UNAVAILABLE: "`metawatt doctor` looks at Solana.",
    ErrorCode.HISTORY_GAP: 'docs/OPERATIONS.md, "A gap in the history", says what to do.',
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        from cli.app import app  # noqa: PLC0415 - what it imports may already fail with an error to be told

        app(args=arguments, prog_name="metawatt")
    except MetawattError as error:
        sys.exit(tell(error))


def tell(error: MetawattError) -> int:
    """Print an error for a person; its exit code."""
    print(f"metawatt: {error.code}: {error.message}", file=sys.stderr)  # noqa: T201
    if error.code in _CURES:
        print(_CURES[error.code], file=sys.stderr)  # noqa: T201
    return exit_code(error.code)


def exit_code(code: ErrorCode) -> int:
    """The exit code for an error code."""
    if code in _WRONG_USE:
        return 2
    return 3 if code in _NOT_TO_BE_HAD else 1
