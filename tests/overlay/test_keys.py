"""Keys and derivation: BRC-42's published vectors, and the SDK's Python side."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.keys import (
    ANYONE_PUBLIC,
    Counterparty,
    PrivateKey,
    Tweaker,
    derive_for_anyone,
    invoice_number,
    is_public_key,
    verify,
    verify_for_anyone,
)
from overlay.sdk import load_sdk, native

ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
ALICE, BOB = PrivateKey.from_int(1001), PrivateKey.from_int(1002)
PROTOCOL = (2, "metawatt gc")
DIGEST = sha256(b"a certificate").digest()

keys = st.integers(1, ORDER - 1).map(PrivateKey.from_int)
names = st.text("abcdefghijklmnopqrstuvwxyz 0123456789", min_size=5, max_size=30)


def test_the_curve_s_edges() -> None:
    assert PrivateKey.from_int(1).public == ANYONE_PUBLIC
    assert PrivateKey.from_int(ORDER - 1).public == b"\x03" + ANYONE_PUBLIC[1:]
    for secret in (bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32, b"", bytes(31), b"\x01" * 33):
        with pytest.raises(ValueError, match="private key"):
            PrivateKey(secret)


def test_secrets_are_not_shown() -> None:
    assert ALICE.secret.hex() not in repr(ALICE)
    assert repr(ALICE.secret) not in repr(ALICE)


def test_generated_keys_differ() -> None:
    assert len({PrivateKey.generate().secret for _ in range(20)}) == 20


@settings(max_examples=50, deadline=None)
@given(keys, st.binary(min_size=32, max_size=32))
def test_signatures(key: PrivateKey, digest: bytes) -> None:
    signature = key.sign(digest)
    assert signature == key.sign(digest)
    assert verify(signature, digest, key.public)
    assert not verify(signature, sha256(digest).digest(), key.public)
    assert not verify(signature, digest, key.derive(PROTOCOL, "1", "self").public)
    sdk = load_sdk()
    twin = sdk.PrivateKey(int.from_bytes(key.secret, "big"))
    assert twin.public_key().serialize() == key.public
    assert twin.sign(digest, hasher=lambda message: message) == signature
    assert twin.public_key().verify(signature, digest, hasher=lambda message: message)


BAD_SIGNATURES = {
    "nothing": b"",
    "noise": b"\x30\x06\x02\x01\x01\x02\x01",
    "zeros": bytes(70),
    "cut off": ALICE.sign(DIGEST)[:-1],
    "left over": ALICE.sign(DIGEST) + b"\x00",
    "with a sighash byte": ALICE.sign(DIGEST) + b"\x41",
    "r of zero": b"\x30\x06\x02\x01\x00\x02\x01\x01",
    "64 bytes": bytes(range(64)),
}


@pytest.mark.parametrize("signature", BAD_SIGNATURES.values(), ids=BAD_SIGNATURES.keys())
def test_what_is_no_signature_does_not_verify(signature: bytes) -> None:
    assert verify(signature, DIGEST, ALICE.public) is False


@pytest.mark.parametrize(
    "public", [b"", bytes(33), b"\x02" + b"\xff" * 32, ALICE.public[:-1], b"\x05" + ALICE.public[1:]]
)
def test_what_is_no_key_does_not_verify(public: bytes) -> None:
    assert verify(ALICE.sign(DIGEST), DIGEST, public) is False
    assert not is_public_key(public)


def test_public_keys_are_compressed() -> None:
    assert is_public_key(ALICE.public)
    assert not is_public_key(native.pubkey_serialize(ALICE.public, False))


@settings(max_examples=40, deadline=None)
@given(keys, keys, st.integers(0, 2), names, st.text(min_size=1, max_size=40))
def test_both_parties_derive_one_key(
    ours: PrivateKey, theirs: PrivateKey, level: int, name: str, key_id: str
) -> None:
    protocol = (level, name)
    child = ours.derive(protocol, key_id, theirs.public)
    assert child.public == theirs.derive_public(protocol, key_id, ours.public)
    sdk = load_sdk()
    own = sdk.PrivateKey(int.from_bytes(ours.secret, "big"))
    other = sdk.PrivateKey(int.from_bytes(theirs.secret, "big"))
    invoice = invoice_number(protocol, key_id)
    assert own.derive_child(other.public_key(), invoice).serialize() == child.secret
    assert own.public_key().derive_child(other, invoice).serialize() == child.public


def test_anyone_derives_what_was_derived_for_anyone() -> None:
    child = ALICE.derive(PROTOCOL, "1", "anyone")
    assert derive_for_anyone(ALICE.public, PROTOCOL, "1") == child.public
    assert PrivateKey.from_int(1).derive_public(PROTOCOL, "1", ALICE.public) == child.public
    assert ALICE.derive(PROTOCOL, "1", ANYONE_PUBLIC) == child


def test_self_is_one_s_own_key() -> None:
    assert ALICE.derive(PROTOCOL, "1", "self") == ALICE.derive(PROTOCOL, "1", ALICE.public)
    assert ALICE.derive_public(PROTOCOL, "1", "self") == ALICE.derive(PROTOCOL, "1", "self").public


counterparties: st.SearchStrategy[Counterparty] = st.one_of(
    st.just("self"), st.just("anyone"), keys.map(lambda key: key.public)
)


@settings(max_examples=60, deadline=None)
@given(keys, counterparties, st.lists(st.tuples(st.integers(0, 2), names, st.text(max_size=40)), max_size=3))
def test_a_tweaker_derives_the_same_keys(
    key: PrivateKey, counterparty: Counterparty, wanted: list[tuple[int, str, str]]
) -> None:
    tweaker = Tweaker(key, counterparty)
    for level, name, key_id in wanted:
        protocol = (level, name)
        assert tweaker.own_key(protocol, key_id) == key.derive(protocol, key_id, counterparty)
        assert tweaker.their_public(protocol, key_id) == key.derive_public(protocol, key_id, counterparty)


def test_everything_matters() -> None:
    derived = {
        ALICE.derive(protocol, key_id, counterparty).secret
        for protocol in (PROTOCOL, (1, "metawatt gc"), (2, "metawatt gd"))
        for key_id in ("1", "2", "")
        for counterparty in (BOB.public, "self", "anyone")
    }
    assert len(derived) == 27


@pytest.mark.parametrize(
    ("protocol", "key_id", "expected"),
    [
        ((2, "Metawatt GC"), "7", "2-metawatt gc-7"),
        ((0, "  spaced out  "), "a-b", "0-spaced out-a-b"),
        ((1, "x"), "Ü", "1-x-Ü"),
    ],
)
def test_invoice_numbers(protocol: tuple[int, str], key_id: str, expected: str) -> None:
    assert invoice_number(protocol, key_id) == expected


# BRC-42's test vectors: private key derivation by the recipient.
RECEIVED = [
    (
        "033f9160df035156f1c48e75eae99914fa1a1546bec19781e8eddb900200bff9d1",
        "6a1751169c111b4667a6539ee1be6b7cd9f6e9c8fe011a5f2fe31e03a15e0ede",
        "f3WCaUmnN9U=",
        "761656715bbfa172f8f9f58f5af95d9d0dfd69014cfdcacc9a245a10ff8893ef",
    ),
    (
        "027775fa43959548497eb510541ac34b01d5ee9ea768de74244a4a25f7b60fae8d",
        "cab2500e206f31bc18a8af9d6f44f0b9a208c32d5cca2b22acfe9d1a213b2f36",
        "2Ska++APzEc=",
        "09f2b48bd75f4da6429ac70b5dce863d5ed2b350b6f2119af5626914bdb7c276",
    ),
]
"""Sender's public key, recipient's private key, invoice number, private key derived."""


@pytest.mark.parametrize(("sender", "recipient", "invoice", "expected"), RECEIVED)
def test_brc_42_vectors(
    sender: str, recipient: str, invoice: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overlay.keys.invoice_number", lambda protocol, key_id: key_id)
    child = PrivateKey.from_hex(recipient).derive((0, ""), invoice, bytes.fromhex(sender))
    assert child.secret.hex() == expected


@given(
    st.integers(1, 2**255),
    st.binary(min_size=32, max_size=32),
    st.text(max_size=40),
    st.integers(0, 79),
    st.integers(0, 255),
)
def test_verifying_for_anyone_is_verifying_under_the_derived_key(
    secret: int, digest: bytes, key_id: str, position: int, value: int
) -> None:
    key = PrivateKey.from_int(secret)
    derived = derive_for_anyone(key.public, (1, "metawatt gc issuance"), key_id)
    signature = key.derive((1, "metawatt gc issuance"), key_id, "anyone").sign(digest)
    assert verify(signature, digest, derived)
    mutant = signature[:position] + bytes((value,)) + signature[position + 1 :]
    for candidate in (signature, mutant, signature[:position], b""):
        expected = verify(candidate, digest, derived)
        assert verify_for_anyone(candidate, digest, key.public, (1, "metawatt gc issuance"), key_id) == expected
    assert not verify_for_anyone(signature, digest, bytes(33), (1, "metawatt gc issuance"), key_id)
    other = bytes((digest[0] ^ 1,)) + digest[1:]
    assert not verify_for_anyone(signature, other, key.public, (1, "metawatt gc issuance"), key_id)
