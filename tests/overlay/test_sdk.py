"""The door to the SDK, and hashes beside it."""

from __future__ import annotations

import pytest

from overlay import sdk


@pytest.mark.parametrize("ripemd160", [sdk._ripemd160_of_openssl, sdk._ripemd160_of_cryptodome])
@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (b"", "9c1185a5c5e9fc54612808977ee8f548b2258d31"),
        (b"abc", "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"),
        (b"1234567890" * 8, "9b752e45573d4b39f4dbd3323cab82bf63326bfb"),
    ],
)
def test_both_ripemd160_give_the_published_digests(ripemd160, text: bytes, digest: str) -> None:
    assert ripemd160(text).hex() == digest


def test_the_hash_of_a_key() -> None:
    """The generator point's, in every wallet's tests."""
    key = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
    assert sdk.hash160(key).hex() == "751e76e8199196d454941c45d1b3a323f1433bd6"
