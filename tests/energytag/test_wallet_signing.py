"""A user's own wallet, over real HTTP, signs what the registry prepares, where its account allows that."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config.errors import BadRequest, Forbidden
from config.settings import WalletSettings
from energytag.actions import Action, Kind, State
from energytag.delivery import BASKET_NAME, DELIVERIES, pull
from energytag.records import ACCOUNTS, BASKET, ORGANISATIONS, USERS
from energytag.signature_requests import REQUESTS
from energytag.wallet_signing import MOST_ATTEMPTS, WalletSigning, pause_ms
from overlay.keys import PrivateKey
from overlay.records import SPENDS
from overlay.transaction import outpoint, txid_from_hex
from store.port import Delete, Find, Put
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, ORGANISATION
from tests.energytag.wallet_kit import BOUND, USER_ID, USER_KEY, WalletRegistry, transfer
from tests.overlay.kit import Chain, Clock


@pytest.fixture
async def node(tmp_path: Path, chain: Chain, clock: Clock) -> AsyncIterator[WalletRegistry]:
    made = WalletRegistry(chain, SqliteStore(tmp_path / "node.db", cache_mib=4), clock)
    await made.begin()
    await made.bind(wallet_url=made.wallet.url, wallet_signs=True)
    yield made
    await made.end()


@pytest.fixture
async def signing(node: WalletRegistry) -> AsyncIterator[WalletSigning]:
    made = WalletSigning(node.registry, WalletSettings(signing_timeout_secs=2), "dev")
    yield made
    await made.close()


async def waiting(node: WalletRegistry, **criteria: Any) -> Action:
    """A transfer out of the bound account, which waits for its wallet."""
    action = (await node.act(Kind.TRANSFER, transfer(BOUND, ACCOUNT, **criteria))).action
    assert action.awaits_signature
    return action


async def asked(signing: WalletSigning) -> int:
    begun = await signing.work()
    await signing.finished()
    return begun


async def requests(node: WalletRegistry) -> list[Any]:
    return list((await node.store.find(REQUESTS, Find(limit=100))).documents)


def called(node: WalletRegistry) -> list[str]:
    return [name for name, _, _ in node.wallet.calls]


async def test_the_wallet_signs_by_itself(node: WalletRegistry, signing: WalletSigning) -> None:
    await node.give(2)
    action = await waiting(node)
    assert await asked(signing) == 1
    done = await node.registry.action(action.action_id)
    assert done.state is State.RESOLVED
    (txid_hex,) = done.txids
    txid = txid_from_hex(txid_hex)
    assert await node.store.get(BASKET, outpoint(txid, 0)) is not None
    assert await node.store.get(BASKET, outpoint(txid, 1)) is not None
    assert called(node).count("createSignature") == 2
    assert node.wallet.shared == [txid_hex]
    assert await requests(node) == []
    assert await asked(signing) == 0


async def test_what_is_left_comes_back_and_is_signed_for_again(
    node: WalletRegistry, signing: WalletSigning
) -> None:
    await node.give()
    for quantity in (300, 200):
        action = await waiting(node, certificate_quantity=quantity)
        await asked(signing)
        assert (await node.registry.action(action.action_id)).state is State.RESOLVED
    assert len(await node.remote.list_outputs(BASKET_NAME)) == 2


async def test_without_consent_no_wallet_is_asked(node: WalletRegistry, signing: WalletSigning) -> None:
    await node.bind(wallet_url=node.wallet.url)
    await node.give()
    before = len(node.wallet.calls)
    action = await waiting(node)
    assert await asked(signing) == 0
    assert (await node.registry.action(action.action_id)).awaits_signature
    assert len(node.wallet.calls) == before


async def test_consent_that_was_taken_back_holds_at_once(node: WalletRegistry, signing: WalletSigning) -> None:
    await node.give()
    action = await waiting(node)
    await node.bind(wallet_url=node.wallet.url, wallet_signs=False)
    assert await asked(signing) == 1
    assert called(node) == []
    assert (await node.registry.action(action.action_id)).awaits_signature
    assert await requests(node) == []


async def test_a_wallet_that_refuses_is_asked_once_and_the_user_may_still_sign(
    node: WalletRegistry, signing: WalletSigning
) -> None:
    await node.give()
    node.wallet.refuses = "the user says no"
    action = await waiting(node)
    assert await asked(signing) == 1
    assert await requests(node) == []
    node.wallet.refuses = None
    assert action.memo is not None
    completed = await node.registry.complete(action.action_id, await node.signed(action.memo["prepared"]))
    assert completed.action.state is State.RESOLVED


async def test_a_wallet_that_is_down_is_asked_again_a_few_times(
    node: WalletRegistry, signing: WalletSigning, clock: Clock
) -> None:
    await node.give()
    node.wallet.is_down = True
    action = await waiting(node)
    for attempt in range(1, MOST_ATTEMPTS + 1):
        assert await asked(signing) == 1
        assert await asked(signing) == 0
        clock.now_ms += pause_ms(attempt) or 0
    assert await requests(node) == []
    assert (await node.registry.action(action.action_id)).awaits_signature

    await node.bind(wallet_url=node.wallet.url, wallet_signs=True)
    again = await waiting(node)
    await asked(signing)
    node.wallet.is_down = False
    clock.now_ms += pause_ms(1) or 0
    await asked(signing)
    assert (await node.registry.action(again.action_id)).state is State.RESOLVED


async def test_another_wallet_at_that_address_learns_nothing(node: WalletRegistry, signing: WalletSigning) -> None:
    await node.give()
    node.wallet.key = PrivateKey.from_int(778)
    action = await waiting(node)
    await asked(signing)
    assert called(node) == ["getPublicKey"]
    assert (await node.registry.action(action.action_id)).awaits_signature


async def test_a_wallet_that_makes_something_else_is_not_signed_for(
    node: WalletRegistry, signing: WalletSigning, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.give()
    create = node.wallet.create_action

    def otherwise(arguments: dict[str, Any]) -> dict[str, Any]:
        arguments["outputs"][0]["lockingScript"] = "51"
        return create(arguments)

    node.wallet.coins, coins = [*node.wallet.coins], len(node.wallet.coins)
    monkeypatch.setattr(node.wallet, "create_action", otherwise)
    await node.restart_wallet()
    await node.bind(wallet_url=node.wallet.url, wallet_signs=True)
    action = await waiting(node)
    await asked(signing)
    assert "createSignature" not in called(node)
    assert called(node)[-1] == "abortAction"
    assert len(node.wallet.coins) == coins
    assert (await node.registry.action(action.action_id)).awaits_signature


async def test_a_wrong_signature_is_not_admitted_and_the_wallets_coins_are_free_again(
    node: WalletRegistry, signing: WalletSigning, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.give()
    (parcel,), _ = await pull(node.store, BOUND, 10)
    other = PrivateKey.from_int(779)
    monkeypatch.setattr(node.wallet, "create_signature", lambda _: {"signature": list(other.sign(bytes(32)))})
    await node.restart_wallet()
    await node.bind(wallet_url=node.wallet.url, wallet_signs=True)
    action = await waiting(node)
    await asked(signing)
    assert (await node.registry.action(action.action_id)).awaits_signature
    assert await node.store.get_many(SPENDS, parcel.outpoints) == {}
    assert called(node)[-1] == "abortAction"
    assert await requests(node) == []


async def test_a_wallet_that_never_ends_is_given_up_in_time(
    node: WalletRegistry, signing: WalletSigning, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.give()
    monkeypatch.setattr(signing, "_settings", WalletSettings(signing_timeout_secs=0.3))
    node.wallet.pause_secs = 1.0
    action = await waiting(node)
    began = time.monotonic()
    await asked(signing)
    assert time.monotonic() - began < 3
    node.wallet.pause_secs = 0.0
    (row,) = await requests(node)
    assert row["attempts"] == 1
    assert (await node.registry.action(action.action_id)).awaits_signature


async def test_certificates_of_which_only_the_wallet_knows_the_key_wait_for_the_user(
    node: WalletRegistry, signing: WalletSigning
) -> None:
    await node.give()
    (parcel,), _ = await pull(node.store, BOUND, 10)
    await node.store.commit([Delete(DELIVERIES, key) for key in parcel.outpoints])
    await waiting(node)
    assert await requests(node) == []


async def test_two_processes_ask_once(node: WalletRegistry, signing: WalletSigning) -> None:
    await node.give()
    await waiting(node)
    other = WalletSigning(node.registry, WalletSettings(), "dev")
    assert await asked(signing) + await asked(other) == 1
    assert called(node).count("createAction") == 2  # made, and shared
    await other.close()


async def test_a_user_who_is_faster_wins(node: WalletRegistry, signing: WalletSigning) -> None:
    await node.give()
    action = await waiting(node)
    assert action.memo is not None
    await node.registry.complete(action.action_id, await node.signed(action.memo["prepared"]))
    before = len(node.wallet.calls)
    assert await asked(signing) == 1
    assert len(node.wallet.calls) == before
    assert await requests(node) == []


async def test_a_private_address_is_not_asked(node: WalletRegistry) -> None:
    await node.give()
    await waiting(node)
    signing = WalletSigning(node.registry, WalletSettings(), "main")
    assert await asked(signing) == 1
    assert called(node) == []
    await signing.close()


@pytest.mark.parametrize(("attempts", "pause"), [(1, 2000), (2, 8000), (4, 128_000), (5, None), (9, None)])
def test_pauses_grow_and_end(attempts: int, pause: int | None) -> None:
    assert pause_ms(attempts) == pause


# Consent


@pytest.fixture
async def user(node: WalletRegistry) -> str:
    """The wallet's user."""
    row = {"_id": USER_ID, "name": "Alice", "primary_contact": "a@example.org", "organisation_id": ORGANISATION}
    more = {"role": ["Account Holder"], "identity_key": USER_KEY.public, "tokens_since": 0, "rev": 1}
    organisation = {
        "name": "O",
        "business_id": 1,
        "primary_contact": "o",
        "address": None,
        "website": None,
        "rev": 1,
    }
    await node.store.commit([Put(USERS, row | more), Put(ORGANISATIONS, {"_id": ORGANISATION, **organisation})])
    return USER_ID


async def update(node: WalletRegistry, user_id: str | None, **changes: Any) -> Any:
    """The account after an update, by that user or by the operator."""
    request = {"account_id": BOUND, "organisation_id": ORGANISATION, **changes}
    outcome = await node.registry.act(Kind.ACCOUNT_UPDATE, request, user_id=user_id, wait_secs=10)
    if outcome.action.state is State.REJECTED:
        error = outcome.action.refusal()
        assert error is not None
        raise (Forbidden if error.code == "ERR_FORBIDDEN" else BadRequest)(error.message, error.code)
    return await node.store.get(ACCOUNTS, BOUND)


async def test_only_the_wallets_user_consents_and_anybody_ends_it(node: WalletRegistry, user: str) -> None:
    await node.bind(wallet_url=node.wallet.url)
    with pytest.raises(Forbidden):
        await update(node, None, wallet_signs=True)
    assert (await update(node, user, wallet_signs=True))["wallet_signs"] is True
    assert (await update(node, None, account_name="Other"))["wallet_signs"] is True
    assert (await update(node, None, wallet_signs=False))["wallet_signs"] is False


async def test_consent_is_for_one_wallet_at_one_address(node: WalletRegistry, user: str) -> None:
    assert (await update(node, None, wallet_url="http://127.0.0.1:1"))["wallet_signs"] is False
    with pytest.raises(BadRequest):
        await update(node, user, wallet_url=None, wallet_signs=True)
    moved = await update(node, user, wallet_url=node.wallet.url, wallet_signs=True)
    assert moved["wallet_signs"] is True
    assert (await update(node, None, identity_key=None))["wallet_signs"] is False
