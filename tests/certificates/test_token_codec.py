"""The three layouts, and bytes that are none of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates.errors import TokenMalformed
from certificates.legacy import LegacyToken
from certificates.ranges import Range
from certificates.token import Token, decode_fields, encode_fields, issuance_id_for, signed_text
from certificates.withdrawal import Withdrawal

VECTOR = json.loads((Path(__file__).parent / "vectors.json").read_text())["tokens"][0]
KEY = bytes.fromhex(VECTOR["locking_key"])
DOCUMENT: dict[str, Any] = json.loads(VECTOR["f0"])
F1, F2 = bytes.fromhex(VECTOR["issuer_key"]), bytes.fromhex(VECTOR["issuer_signature"])
NOTICE = {"issuance_id": VECTOR["issuance_id"], "start": 1, "end": 9, "reason": "metering error"}
LEGACY = {
    "energyTag": {
        "certificate_status": "Active",
        "account_id": "00000000-0000-0000-0000-000000000000",
        "bundle_id_range_start": 1,
        "bundle_id_range_end": 1,
        "bundle_quantity": 1,
        "energy_carrier": "Electricity",
        "energy_source": "Unknown",
        "face_value": 1000,
        "country_of_issuance": "N/A",
        "issuance_id": "hello",
    },
    "note": "first",
}


def decode(document: Any, *rest: bytes, key: bytes = KEY) -> Any:
    return decode_fields(key, [orjson.dumps(document), *(rest or (F1, F2))])


def test_members_and_their_order_do_not_matter() -> None:
    turned = {name: DOCUMENT[name] for name in reversed(DOCUMENT)}
    token = decode({**turned, "note": "n", "exit": {"chain": "c"}, "private": "AA==", "beneficiary": "b"})
    assert isinstance(token, Token)
    assert (token.note, token.exit, token.private, token.beneficiary) == ("n", {"chain": "c"}, "AA==", "b")
    assert signed_text(token).decode() == VECTOR["signed_text"]
    assert decode_fields(KEY, encode_fields(token)) == token


def test_fourth_field_is_not_interpreted() -> None:
    assert decode(DOCUMENT, F1, F2, b"anything") == decode(DOCUMENT)


def test_origin_null_is_no_origin() -> None:
    assert decode({**DOCUMENT, "origin": None}).signed_text == decode(DOCUMENT).signed_text
    assert decode({**DOCUMENT, "origin": {"chain": "x"}}).signed_text != decode(DOCUMENT).signed_text


def test_legacy() -> None:
    token = decode(LEGACY, F2)
    assert isinstance(token, LegacyToken)
    assert (token.note, token.issuance_id, token.signed_text) == ("first", "hello", orjson.dumps(LEGACY))
    assert decode({**LEGACY, "note": 5}, F2).note is None


@pytest.mark.parametrize("name", ["certificate_status", "account_id", "bundle_quantity", "face_value"])
@pytest.mark.parametrize("value", [None, True, 1.5, []])
def test_legacy_attributes_have_their_types(name: str, value: Any) -> None:
    with pytest.raises(TokenMalformed, match=name):
        decode({"energyTag": {**LEGACY["energyTag"], name: value}}, F2)


def test_notice() -> None:
    notice = decode({"v": 1, "withdraw": NOTICE})
    assert isinstance(notice, Withdrawal)
    assert (notice.range, notice.reason, notice.reissued_as) == (Range(1, 9), "metering error", None)
    assert json.loads(notice.signed_text) == {"withdraw": NOTICE}
    assert decode_fields(KEY, encode_fields(notice)) == notice
    again = decode({"v": 1, "withdraw": {**NOTICE, "reissued_as": VECTOR["issuance_id"]}}, F1, F2, b"fourth")
    assert again.reissued_as == VECTOR["issuance_id"]
    assert decode_fields(KEY, encode_fields(again)) == again


MALFORMED = [
    ("no version", {"energyTag": {}}, (F1, F2), "v is not 1"),
    ("version 2", {**DOCUMENT, "v": 2}, (F1, F2), "v is not 1"),
    ("version true", {**DOCUMENT, "v": True}, (F1, F2), "v is not 1"),
    ("version 1.0", {**DOCUMENT, "v": 1.0}, (F1, F2), "v is not 1"),
    ("no signature", DOCUMENT, (F1,), "signature is missing"),
    ("five fields", DOCUMENT, (F1, F2, b"", b""), "2 to 4 fields"),
    ("short issuer key", DOCUMENT, (F1[:32], F2), "issuer key"),
    ("uncompressed issuer key", DOCUMENT, (b"\x04" + F1[1:], F2), "issuer key"),
    ("signature not DER", DOCUMENT, (F1, b"\x31" + F2[1:]), "not DER"),
    ("signature too long", DOCUMENT, (F1, F2 + b"\0" * 10), "not DER"),
    ("no issued", {"v": 1, "energyTag": DOCUMENT["energyTag"]}, (F1, F2), "issued"),
    ("issued inverted", {**DOCUMENT, "issued": {"start": 2, "end": 1}}, (F1, F2), "issued"),
    ("issued with more", {**DOCUMENT, "issued": {"start": 1, "end": 2, "x": 1}}, (F1, F2), "issued"),
    ("issued of text", {**DOCUMENT, "issued": {"start": "1", "end": 2}}, (F1, F2), "issued"),
    ("no energyTag", {"v": 1, "issued": DOCUMENT["issued"]}, (F1, F2), "energyTag"),
    ("notice with more", {"v": 1, "withdraw": NOTICE, "note": ""}, (F1, F2), "nothing else"),
    ("notice of text", {"v": 1, "withdraw": "all"}, (F1, F2), "withdraw is not"),
    ("notice unknown member", {"v": 1, "withdraw": {**NOTICE, "x": 1}}, (F1, F2), "withdraw is not"),
    ("notice without reason", {"v": 1, "withdraw": {**NOTICE, "reason": ""}}, (F1, F2), "reason"),
    ("notice without start", {"v": 1, "withdraw": {**NOTICE, "start": None}}, (F1, F2), "not a range"),
    ("notice inverted", {"v": 1, "withdraw": {**NOTICE, "end": 0}}, (F1, F2), "not a range"),
    ("notice bad id", {"v": 1, "withdraw": {**NOTICE, "issuance_id": "x"}}, (F1, F2), "issuance_id"),
    ("notice bad reissue", {"v": 1, "withdraw": {**NOTICE, "reissued_as": "x"}}, (F1, F2), "reissued_as"),
    ("legacy without energyTag", {"note": "x"}, (F2,), "energyTag"),
    ("legacy bad signature", LEGACY, (b"",), "not DER"),
]


@pytest.mark.parametrize(
    ("document", "rest", "reason"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED]
)
def test_malformed(document: Any, rest: tuple[bytes, ...], reason: str) -> None:
    with pytest.raises(TokenMalformed, match=reason):
        decode(document, *rest)


@pytest.mark.parametrize("key", [b"", KEY[:32], b"\x05" + KEY[1:]])
def test_owner_key(key: bytes) -> None:
    with pytest.raises(TokenMalformed, match="owner key"):
        decode(DOCUMENT, key=key)


def test_issuance_id_is_a_version_8_uuid() -> None:
    for index in range(64):
        value = issuance_id_for(bytes(36), index)
        assert value[14] == "8"
        assert value[19] in "89ab"


def test_every_part_of_the_signature_text_is_signed() -> None:
    token = decode(DOCUMENT)
    assert replace(token, issued=Range(1, 2)).signed_text != token.signed_text
    assert replace(token, origin="x").signed_text != token.signed_text
    assert replace(token, extras={"note": "x"}).signed_text == token.signed_text


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=120), max_size=5))
def test_arbitrary_fields_are_malformed(fields: list[bytes]) -> None:
    with pytest.raises(TokenMalformed):
        decode_fields(KEY, fields)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
places = st.sampled_from(
    [("v",), ("issued",), ("issued", "start"), ("energyTag",), ("note",), ("withdraw",), ("exit",), ("origin",)]
    + [("energyTag", name) for name in DOCUMENT["energyTag"]]
)


@settings(max_examples=500)
@given(places, json_values)
def test_any_json_anywhere_is_a_token_or_malformed(place: tuple[str, ...], value: Any) -> None:
    document = json.loads(VECTOR["f0"])
    target = document if len(place) == 1 else document[place[0]]
    target[place[-1]] = value
    text = json.dumps(document).encode("utf-8", "surrogatepass")
    try:
        token = decode_fields(KEY, [text, F1, F2])
    except TokenMalformed as error:
        assert error.message
    else:
        assert decode_fields(KEY, encode_fields(token)) == token


@settings(max_examples=300)
@given(st.integers(0, len(VECTOR["f0"]) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_mutated_documents_are_a_token_or_malformed(at: int, put: bytes, cut: int) -> None:
    text = VECTOR["f0"].encode()
    try:
        decode_fields(KEY, [text[:at] + put + text[at + cut :], F1, F2])
    except TokenMalformed as error:
        assert error.message
