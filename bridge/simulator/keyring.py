"""The meters' keys and their owners' wallets, kept in a folder so that a second run is the same meters.

Each is a file as solana-keygen writes it, that only its owner may read: `<serial>.meter.json` and
`<serial>.wallet.json`.
"""

from __future__ import annotations

from pathlib import Path

from solders.keypair import Keypair

from bridge.programs.keys import keypair_in


class Keyring:
    """Keys by serial, made where they are missing. Raises `SecretUnusable`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def meter(self, serial: str) -> Keypair:
        """The key that the meter signs with."""
        return keypair_in(self._folder / f"{serial}.meter.json", make=True)

    def wallet(self, serial: str) -> Keypair:
        """The Solana wallet that the meter's tokens go to."""
        return keypair_in(self._folder / f"{serial}.wallet.json", make=True)
