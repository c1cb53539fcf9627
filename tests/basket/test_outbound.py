"""Where the node goes at a stranger's word, and where not."""

from __future__ import annotations

import pytest

from basket.outbound import check_url, is_public, outbound_session
from config.errors import BadRequest
from config.settings import Network


@pytest.mark.parametrize(
    ("url", "network", "allowed"),
    [
        ("https://registry.example/hook?x=1", "main", True),
        ("https://8.8.8.8/hook", "main", True),
        ("http://registry.example/hook", "main", False),
        ("http://127.0.0.1:80/hook", "main", False),
        ("https://127.0.0.1/hook", "main", False),
        ("https://localhost/hook", "main", False),
        ("https://10.0.0.1/", "test", False),
        ("https://[::1]/", "main", False),
        ("https://[::ffff:10.0.0.1]/", "main", False),
        ("https://169.254.169.254/latest", "main", False),
        ("https://user:secret@registry.example/", "main", False),
        ("ftp://registry.example/", "main", False),
        ("https:///nowhere", "main", False),
        ("https://[broken", "main", False),
        ("https://registry.example/" + "x" * 2000, "main", False),
        ("http://127.0.0.1:8080/hook", "dev", True),
        ("http://localhost:8080/hook", "dev", True),
        ("http://10.0.0.1/hook", "dev", False),
        ("https://10.0.0.1/hook", "dev", True),
    ],
)
def test_which_addresses_are_allowed(url: str, network: Network, allowed: bool) -> None:
    if allowed:
        check_url(url, network)
    else:
        with pytest.raises(BadRequest):
            check_url(url, network)


PRIVATE = (
    "127.0.0.1 10.1.2.3 192.168.0.1 169.254.1.1 0.0.0.0 224.0.0.1 100.64.0.1 ::1 fe80::1 fc00::1 ::ffff:127.0.0.1 "
    "64:ff9b::7f00:1 64:ff9b:1::7f00:1 ::7f00:1 ::ffff:0:7f00:1 2002:7f00:1:: 2001:0:1:: ff02::1 registry.example"
)


@pytest.mark.parametrize("address", PRIVATE.split())
def test_what_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2a00:1450::1"])
def test_what_is_public(address: str) -> None:
    assert is_public(address)


async def test_a_name_that_means_a_private_address_is_not_connected_to() -> None:
    async with outbound_session("main", 2) as session:
        with pytest.raises(OSError, match="localhost"):
            await session.get("http://localhost:1/")
