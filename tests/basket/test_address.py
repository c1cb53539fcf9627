"""Addresses, against well-known ones."""

from __future__ import annotations

from basket.address import p2pkh_address
from overlay.keys import PrivateKey


def test_the_addresses_of_the_private_key_one() -> None:
    public = PrivateKey.from_int(1).public
    assert p2pkh_address(public, "main") == "1BgGZ9tcN4rm9KBzDn7KprQz87SZ26SAMH"
    assert p2pkh_address(public, "test") == "mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r"
    assert p2pkh_address(public, "dev") == p2pkh_address(public, "test")
