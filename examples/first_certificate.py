"""Issue one certificate on a dev node, find it again, and check the proof.

    .venv/bin/python examples/first_certificate.py [http://127.0.0.1:8080] [data]

The second argument is the node's data folder: on the dev network the node's own key is a trusted issuer.
"""

import json
import sys
from hashlib import sha256
from pathlib import Path
from urllib.request import Request, urlopen

from certificates.issuance import issue
from certificates.ranges import Range
from certificates.token import ISSUANCE_PROTOCOL, encode_fields
from overlay.builder import P2pkhSigner, TransactionBuilder, coins_of, p2pkh_lock, write_beef
from overlay.envelope import parse_envelope
from overlay.keys import PrivateKey
from overlay.pushdrop import lock

NODE = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
DATA = Path(sys.argv[2] if len(sys.argv) > 2 else "data")


def post(path: str, body: bytes, **headers: str) -> dict:
    """POST to the node; the JSON that it answers."""
    with urlopen(Request(NODE + path, body, {k.replace("_", "-"): v for k, v in headers.items()})) as reply:
        return json.load(reply)


def post_json(path: str, value: object) -> dict:
    return post(path, json.dumps(value).encode(), content_type="application/json")


# 1. A coin to pay the fee with, from the dev chain's faucet. It comes with its proof.
owner = PrivateKey.generate()
paid = post_json("/dev/faucet", {"lockingScript": p2pkh_lock(owner.public).hex(), "satoshis": 1000})
funding = parse_envelope(bytes.fromhex(paid["beef"]))
coin = coins_of(funding.subject)[paid["vouts"][0]]

# 2. One hour of a photovoltaic plant in Germany: 52,500 Wh, one certificate each.
issuer = PrivateKey.from_hex((DATA / "node.key").read_text().strip())
certificate = issue(
    {
        "account_id": "7b0c2c1e-5b0f-4f1e-9d3a-2f6f0a1b2c3d",
        "connected_grid_identification": "10YDE-EON------1",
        "country_of_issuance": "DE",
        "device_capacity": 75_000,
        "device_id": "0d5f6a2b-9c1e-4a7b-8e2f-1a2b3c4d5e6f",
        "device_location": [48.1351, 11.582],
        "device_name": "Rooftop South 7",
        "device_production_start_date": "2021-04-01",
        "device_technology_type": "solar_pv",
        "device_type": "production",
        "energy_carrier": "electricity",
        "energy_source": "solar_pv",
        "expiry_datestamp": "2028-06-01",
        "face_value": 1,
        "issuance_datestamp": "2026-06-01",
        "issuance_post_energy_carrier_conversion": False,
        "issue_market_zone": "DE-LU",
        "issuing_body": "Example Issuing Body",
        "production_starting_interval": "2026-06-01T10:00:00Z",
        "production_ending_interval": "2026-06-01T11:00:00Z",
        "registry_configuration": 1,
    },
    Range(1, 52_500),
    spends=coin.txid + coin.index.to_bytes(4, "little"),
    output_index=0,
    issuer_key=issuer.public,
    locking_key=owner.public,
)
signer = issuer.derive(ISSUANCE_PROTOCOL, certificate.issuance_id, "anyone")
certificate = certificate.with_signature(signer.sign(sha256(certificate.signed_text).digest()))

# 3. A transaction with the certificate as its first output, submitted with all that proves it.
transaction = (
    TransactionBuilder()
    .spend(coin, P2pkhSigner(owner))
    .pay(1, lock(owner.public, encode_fields(certificate)))
    .change_to(p2pkh_lock(owner.public))
    .build()
)
assert funding.subject_bump is not None
beef = write_beef([(funding.subject, funding.subject_bump.raw), (transaction, None)])
topics = ["tm_metawatt_gc", "tm_metawatt_gc_solar_pv_de"]
(DATA / "certificate.beef").write_bytes(beef)
print(post("/submit", beef, content_type="application/octet-stream", x_topics=json.dumps(topics)))

# 4. What a buyer sees: found by source and country, with the transactions that prove it.
query = {
    "energy_source": "solar_pv",
    "country": "DE",
    "topics": ["tm_metawatt_gc_solar_pv_de"],
    "sort": "newest",
    "limit": 10,
}
answer = post_json("/lookup", {"service": "ls_metawatt", "query": query})
found = [parse_envelope(bytes(output["beef"])).subject.txid_hex for output in answer["outputs"]]
assert transaction.txid_hex in found
print(f"Solar power from Germany: {len(found)} found, {transaction.txid_hex} among them")
