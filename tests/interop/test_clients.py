"""The official TypeScript clients against a node, over a real socket.

`node` and `run_script` are this folder's fixtures: a node in a process of its own, and a way to run one of
`clients/*.mjs`, which use `@bsv/sdk` and nothing of this project.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest

from certificates.bundle import Bundle
from certificates.canonical import canonical
from certificates.ranges import Range
from certificates.token import (
    ISSUANCE_PROTOCOL,
    OWNER_PROTOCOL,
    Token,
    decode_fields,
    encode_fields,
    issuance_id_for,
)
from overlay import pushdrop
from overlay.builder import Coin, P2pkhSigner, TransactionBuilder, p2pkh_lock, write_beef
from overlay.envelope import parse_envelope
from overlay.keys import PrivateKey, derive_for_anyone, verify
from overlay.sdk import load_sdk
from overlay.transaction import Transaction, outpoint

TOPICS = ["tm_metawatt_gc", "tm_metawatt_gc_solar_pv", "tm_metawatt_gc_de", "tm_metawatt_gc_solar_pv_de"]
FUNDER = PrivateKey.from_int(3001)
PRODUCER = PrivateKey.from_int(3002)
BUYER = PrivateKey.from_int(3003)
BUNDLE: dict[str, Any] = {
    "certificate_status": "Active",
    "account_id": "7b0c2c1e-5b0f-4f1e-9d3a-2f6f0a1b2c3d",
    "bundle_id_range_start": 1,
    "bundle_id_range_end": 41_000,
    "bundle_quantity": 41_000,
    "energy_carrier": "electricity",
    "energy_source": "solar_pv",
    "face_value": 1,
    "issuance_post_energy_carrier_conversion": False,
    "registry_configuration": 1,
    "device_name": "Solarpark Süd",
    "device_technology_type": "solar_pv",
    "device_production_start_date": "2021-04-01",
    "device_capacity": 75_000,
    "device_location": [48.1351, 11.582],
    "device_type": "production",
    "production_starting_interval": "2026-06-02T10:00:00Z",
    "production_ending_interval": "2026-06-02T11:00:00Z",
    "issuance_datestamp": "2026-06-02",
    "expiry_datestamp": "2028-06-02",
    "country_of_issuance": "DE",
    "connected_grid_identification": "10YDE-EON------1",
    "issuing_body": "Example Issuing Body",
    "issue_market_zone": "DE-LU",
}


@dataclass(frozen=True)
class PythonToken:
    issuance: str
    transaction: Transaction
    locking_key: bytes
    beef: bytes


def issue_in_python(node: Any, owner: bytes, key_id: str) -> PythonToken:
    """Issue a certificate from the producer to `owner` and submit it."""
    funding = node.post_json("/dev/faucet", {"lockingScript": p2pkh_lock(FUNDER.public).hex(), "satoshis": 5000})
    parent = parse_envelope(bytes.fromhex(funding["beef"])).members[bytes.fromhex(funding["txid"])[::-1]]
    coin = Coin(parent.transaction.txid, funding["vouts"][0], parent.transaction.outputs[funding["vouts"][0]])
    issuance = issuance_id_for(outpoint(coin.txid, coin.index), 0)
    bundle = Bundle.read({**BUNDLE, "device_id": str(uuid4()), "issuance_id": issuance})
    locking_key = PRODUCER.derive_public(OWNER_PROTOCOL, key_id, owner)
    draft = Token(locking_key, bundle, Range(1, bundle.quantity), node.key.public)
    signer = node.key.derive(ISSUANCE_PROTOCOL, issuance, "anyone")
    token = draft.with_signature(signer.sign(sha256(draft.signed_text).digest()))
    builder = TransactionBuilder().spend(coin, P2pkhSigner(FUNDER))
    builder.pay(1, pushdrop.lock(locking_key, encode_fields(token))).change_to(p2pkh_lock(FUNDER.public), 100)
    transaction = builder.build()
    assert parent.bump is not None
    beef = write_beef([(parent.transaction, parent.bump.raw), (transaction, None)])
    steak = node.submit(beef, TOPICS)
    assert all(steak[topic]["outputsToAdmit"] == [0] for topic in TOPICS)
    return PythonToken(issuance, transaction, locking_key, beef)


@pytest.fixture(scope="module")
def life(node: Any, run_script: Any) -> Any:
    """A certificate issued, found, verified, transferred and returned, all in TypeScript."""
    return run_script("life_of_a_certificate", url=node.url, issuer=node.key.secret.hex(), topics=TOPICS)


def spent(result: Any) -> list[int]:
    """The inputs that a topic retained or removed."""
    return sorted(result["coinsToRetain"] + result["coinsRemoved"])


def test_topic_broadcaster_submits_a_certificate(life: Any) -> None:
    assert life["broadcast"]["status"] == "success", life["broadcast"]
    assert life["broadcast"]["txid"] == life["txids"][0]


def test_lookup_resolver_reads_it_back_and_verifies_its_beef(life: Any) -> None:
    assert life["found"] == {"txid": life["txids"][0], "outputs": 1, "verified": True, "signed": True}


def test_certificate_is_spent_with_pushdrop(life: Any) -> None:
    for topic in TOPICS:
        assert life["steak"][topic]["outputsToAdmit"] == [0]
        assert spent(life["steak"][topic]) == [0]


def test_lookup_follows_the_certificate_to_its_new_owner(life: Any) -> None:
    assert life["moved"] == {"txid": life["txids"][1], "outputs": 1, "verified": True}
    assert all(life["returned"][topic]["outputsToAdmit"] == [0] for topic in TOPICS)


def test_typescript_signature_and_script_are_read_in_python(life: Any, node: Any) -> None:
    decoded = pushdrop.decode(bytes.fromhex(life["script"]))
    assert decoded is not None
    token = decode_fields(decoded.locking_key, decoded.fields)
    assert isinstance(token, Token)
    signer = derive_for_anyone(node.key.public, ISSUANCE_PROTOCOL, token.issuance_id)
    assert verify(token.signature, sha256(token.signed_text).digest(), signer)
    assert pushdrop.lock(decoded.locking_key, encode_fields(token)).hex() == life["script"]
    owner = PrivateKey.from_int(2001).derive(OWNER_PROTOCOL, "first", "self")
    assert owner.public == decoded.locking_key


def test_python_token_is_unlocked_in_typescript(node: Any, run_script: Any) -> None:
    made = issue_in_python(node, BUYER.public, "for the buyer")
    taken = run_script(
        "unlock_python_token",
        url=node.url,
        holder=BUYER.secret.hex(),
        keyID="for the buyer",
        sender=PRODUCER.public.hex(),
        issuance=made.issuance,
        topics=TOPICS,
    )
    assert taken["token"]["txid"] == made.transaction.txid_hex
    assert taken["token"]["lockingKey"] == made.locking_key.hex()
    assert taken["token"]["signed"] and taken["token"]["verified"] and taken["valid"]
    assert canonical(taken["token"]["document"]["energyTag"]["device_name"]) == canonical(BUNDLE["device_name"])
    assert all(taken["steak"][topic]["outputsToAdmit"] == [0] for topic in TOPICS)
    assert all(spent(taken["steak"][topic]) == [0] for topic in TOPICS)


async def test_python_sdk_submits_with_topics_as_a_comma_list(node: Any) -> None:
    made = issue_in_python(node, BUYER.public, "by the Python SDK")
    ship = load_sdk("bsv.overlay_tools.ship_broadcaster")
    tagged = ship.TaggedBEEF(beef=made.beef, topics=TOPICS)
    steak = await ship.HTTPSOverlayBroadcastFacilitator(allow_http=True).send(node.url, tagged)
    assert {topic: steak[topic]["outputsToAdmit"] for topic in steak} == {topic: [0] for topic in TOPICS}


def test_json_answer_is_read_like_the_aggregated_one(node: Any, run_script: Any) -> None:
    made = [issue_in_python(node, BUYER.public, f"json {number}") for number in range(3)]
    query = {"energy_source": "solar_pv", "country": "DE", "limit": 100}
    read = run_script("read_as_json", url=node.url, query=query)
    assert sorted(read["json"]) == sorted(read["aggregated"])
    assert {f"{token.transaction.txid_hex}.0" for token in made} <= set(read["json"])
    assert read["types"][0].startswith("application/json")
    assert read["types"][1] == "application/octet-stream"


def test_duplicates_get_the_first_steak_in_every_form_of_beef(node: Any, run_script: Any) -> None:
    again = run_script("resubmit", url=node.url, issuer=node.key.secret.hex(), topics=TOPICS)
    assert [broadcast["status"] for broadcast in again["broadcasts"]] == ["success", "success"]
    first, *others = again["replies"].values()
    assert all(first[topic]["outputsToAdmit"] == [0] for topic in TOPICS)
    assert all(other == first for other in others)
