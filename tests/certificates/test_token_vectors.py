"""The codec against tokens made with the TypeScript SDK."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from certificates.token import (
    ISSUANCE_PROTOCOL,
    OWNER_PROTOCOL,
    Token,
    decode_fields,
    encode_fields,
    issuance_id_for,
)
from overlay import keys, pushdrop
from overlay.transaction import outpoint, txid_from_hex

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
TOKENS = pytest.mark.parametrize("vector", VECTORS["tokens"], ids=lambda vector: vector["name"])


def read(vector: dict[str, Any]) -> Token:
    script = pushdrop.decode(bytes.fromhex(vector["script"]))
    assert script is not None
    token = decode_fields(script.locking_key, script.fields)
    assert isinstance(token, Token)
    return token


@TOKENS
def test_fields_are_read_and_written_byte_for_byte(vector: dict[str, Any]) -> None:
    token = read(vector)
    expected = [
        vector["f0"].encode(),
        bytes.fromhex(vector["issuer_key"]),
        bytes.fromhex(vector["issuer_signature"]),
    ]
    assert encode_fields(token) == expected
    assert token.locking_key.hex() == vector["locking_key"]
    assert token.issuance_id == vector["issuance_id"]


@TOKENS
def test_signed_text(vector: dict[str, Any]) -> None:
    assert read(vector).signed_text.decode() == vector["signed_text"]


@TOKENS
def test_issuer_signature_verifies_for_anyone(vector: dict[str, Any]) -> None:
    token = read(vector)
    key = keys.derive_for_anyone(token.issuer_key, ISSUANCE_PROTOCOL, token.issuance_id)
    assert keys.verify(token.signature, sha256(token.signed_text).digest(), key)
    assert not keys.verify(token.signature, sha256(token.signed_text + b" ").digest(), key)


@pytest.mark.parametrize(
    "vector",
    [each for each in VECTORS["tokens"] if "split" not in each["name"]],
    ids=lambda vector: vector["name"],
)
def test_issuance_id_is_derived_from_the_spent_outpoint(vector: dict[str, Any]) -> None:
    funding = vector["funding"]
    spent = outpoint(txid_from_hex(funding["txid"]), funding["vout"])
    assert issuance_id_for(spent, vector["output_index"]) == vector["issuance_id"]
    assert issuance_id_for(spent, vector["output_index"] + 1) != vector["issuance_id"]


@TOKENS
def test_owner_key_is_the_recipients(vector: dict[str, Any]) -> None:
    issuer = keys.PrivateKey.from_int(int(VECTORS["keys"]["issuer_private"]))
    producer = keys.PrivateKey.from_int(int(VECTORS["keys"]["producer_private"]))
    sender = producer if "sold to a buyer" in vector["name"] else issuer
    if vector["counterparty"] == "self":
        locked_to = sender.derive(OWNER_PROTOCOL, vector["key_id"], "self").public
    else:
        other = bytes.fromhex(vector["counterparty"])
        locked_to = sender.derive_public(OWNER_PROTOCOL, vector["key_id"], other)
    assert locked_to.hex() == vector["locking_key"]
