"""The routes of wallets on a whole node: deliveries over HTTP, signing, and the node's own coins."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest

from basket.remote import RemoteWallet
from energytag.actions import Kind
from energytag.delivery import BASKET_NAME
from overlay.builder import ALL_FORKID, Sighasher
from overlay.envelope import parse_envelope
from overlay.keys import PrivateKey
from overlay.pushdrop import encode_push
from store.port import Put
from tests.basket.brc100 import Wallet
from tests.energytag.kit import ACCOUNT, DEVICE, account_row, device_row, readings

BOUND = "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d77"
USER_ID = "11111111-2222-4333-8444-555555555555"
USER_KEY = PrivateKey.from_int(777)


@pytest.fixture
async def wallet() -> AsyncIterator[Wallet]:
    made = Wallet(USER_KEY)
    runner = await made.serve()
    yield made
    await runner.cleanup()


@pytest.fixture
async def registry(running: Any) -> Any:
    """A node with two bundles in a bound account."""
    from energytag.records import ACCOUNTS, DEVICES

    await running.node.store.commit(
        [
            Put(ACCOUNTS, account_row(ACCOUNT)),
            Put(ACCOUNTS, account_row(BOUND, identity_key=USER_KEY.public)),
            Put(DEVICES, device_row(DEVICE)),
        ]
    )
    await act(running, Kind.CREATE_MANY, ACCOUNT, {"device_id": DEVICE, "readings": readings(0, 2)})
    await act(running, Kind.TRANSFER, ACCOUNT, transfer(ACCOUNT, BOUND))
    return running


def transfer(source: str, target: str) -> dict[str, Any]:
    return {"source_account_id": source, "source_user_id": USER_ID, "target_account_id": target}


async def act(running: Any, kind: Kind, account_id: str, request: dict[str, Any]) -> Any:
    outcome = await running.node.registry.act(kind, request, user_id=None, account_id=account_id, wait_secs=20)
    assert outcome.action.error is None, outcome.action.error
    return outcome.action


async def done(reply: Any, status: int = 200) -> Any:
    assert reply.status == status, reply.body
    return reply.json()


async def test_a_wallet_pulls_takes_in_and_acknowledges(registry: Any, wallet: Wallet) -> None:
    remote = RemoteWallet(wallet.url, "metawatt", 5)
    told = await done(await registry.admin("GET", f"/wallet/outputs?account_id={BOUND}&limit=1"))
    assert len(told["parcels"][0]["outputs"]) == 1
    assert told["cursor"]
    following = await done(
        await registry.admin("GET", f"/wallet/outputs?account_id={BOUND}&limit=1&cursor={told['cursor']}")
    )
    parcels = [*told["parcels"], *following["parcels"]]
    outpoints = [outpoint for parcel in parcels for outpoint in parcel.pop("outpoints")]
    for parcel in parcels:
        await remote.internalize_action(parcel)
    assert [each["outpoint"] for each in await remote.list_outputs(BASKET_NAME)] == outpoints
    body = {"account_id": BOUND, "outpoints": outpoints}
    told = await done(await registry.admin("POST", "/wallet/outputs/acknowledge", json=body))
    assert told == {"acknowledged": 2}
    assert await done(await registry.admin("GET", f"/wallet/outputs?account_id={BOUND}")) == {"parcels": []}
    await remote.close()


async def test_a_wallet_signs_over_http(registry: Any, wallet: Wallet) -> None:
    wallet.fund(await registry.node.dev_chain.faucet(wallet.funds_script, 50_000, 1))
    action = await act(registry, Kind.TRANSFER, BOUND, transfer(BOUND, ACCOUNT))
    asked = await done(await registry.admin("GET", f"/wallet/actions/{action.action_id}"))
    remote = RemoteWallet(wallet.url, "metawatt", 5)
    made = await remote.create_action(asked["createAction"])
    assert made.signable is not None
    envelope = parse_envelope(made.signable.beef)
    hasher = Sighasher(envelope.subject)
    scripts = {}
    for index, unlock in enumerate(asked["unlock"]):
        txid, vout, *_ = envelope.subject.inputs[index]
        digest = hasher.digest(index, envelope.members[txid].transaction.outputs[vout])
        protocol = tuple(unlock["protocolID"])
        signed = await remote.sign(digest, protocol, unlock["keyID"], bytes.fromhex(unlock["counterparty"]))
        scripts[index] = encode_push(signed + bytes((ALL_FORKID,)))
    beef = await remote.sign_action(made.signable.reference, scripts)
    body = {"beef": b64encode(beef).decode()}
    told = await done(await registry.admin("POST", f"/actions/{action.action_id}/complete", json=body), 202)
    assert told["action_state"] == "resolved"
    assert (await registry.admin("GET", f"/wallet/actions/{action.action_id}")).json()["code"] == (
        "ERR_SIGNATURE_AWAITED"
    )
    await remote.close()


async def test_the_secret_of_a_webhook_is_its_accounts(registry: Any) -> None:
    told = await done(await registry.admin("GET", f"/wallet/webhook?account_id={BOUND}"))
    assert told["webhook_url"] is None
    other = await done(await registry.admin("GET", f"/wallet/webhook?account_id={ACCOUNT}"))
    assert len({told["secret"], other["secret"]}) == 2
    assert (await registry.get(f"/wallet/webhook?account_id={BOUND}")).status == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/wallet/outputs", None, 404),
        ("GET", "/wallet/outputs?account_id=nobody", None, 404),
        ("GET", f"/wallet/outputs?account_id={BOUND}&limit=0", None, 422),
        ("GET", f"/wallet/outputs?account_id={BOUND}&cursor=x", None, 400),
        ("GET", "/wallet/actions/nothing", None, 404),
        ("POST", "/wallet/outputs/acknowledge", {"account_id": BOUND, "outpoints": []}, 422),
        ("POST", "/wallet/outputs/acknowledge", {"account_id": BOUND, "outpoints": ["x.1"]}, 422),
        ("POST", "/admin/wallet/deposit", {"beef": "AAAAA"}, 422),
        ("POST", "/admin/wallet/deposit", {"beef": "AAAA"}, 400),
        ("POST", "/admin/wallet/deposit", {"beef": "AAAA", "vouts": [-1]}, 422),
    ],
)
async def test_what_is_refused(registry: Any, method: str, path: str, body: Any, status: int) -> None:
    more = {} if body is None else {"json": body}
    reply = await registry.admin(method, path, **more)
    assert reply.status == status, reply.body
    assert (await registry.ask(method, path, **more)).status == 401


async def test_the_nodes_coins_and_a_deposit(running: Any) -> None:
    before = await done(await running.admin("GET", "/admin/wallet"))
    assert (before["satoshis"], before["coins"], before["largest"]) == (0, 0, [])
    script = running.node.registry.treasury.deposit_script
    payment = await running.node.dev_chain.faucet(script, 123_456, 2)
    body = {"beef": b64encode(payment.beef).decode(), "vouts": [0]}
    after = await done(await running.admin("POST", "/admin/wallet/deposit", json=body))
    assert (after["satoshis"], after["coins"]) == (123_456, 1)
    assert after["largest"] == [{"outpoint": f"{payment.txid[::-1].hex()}.0", "satoshis": 123_456}]
    assert after["deposit_address"] == before["deposit_address"]
