"""Imports: what is checked of rows and proofs, and that no certificate comes in twice."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import pytest

from certificates.successor import cancel, claim, reserve, split, succeed
from certificates.token import Token
from config.errors import MetawattError
from energytag import bundle_table, imports
from energytag.actions import Kind, State
from energytag.audit import check_registry
from energytag.bundle_table import RowInvalid
from energytag.imports import IMPORTED, prepare
from energytag.models.certificates import GranularCertificateQuery
from energytag.models.common import InvalidFields, read
from energytag.models.imports import CertificateImport
from energytag.queries import query
from energytag.rebuild import rebuild
from energytag.records import DEVICES
from energytag.source_proofs import ProofInvalid, parents_first
from lookup.records import CERTIFICATES
from overlay.builder import Coin, coins_of, write_beef
from overlay.envelope import parse_envelope
from overlay.keys import PrivateKey
from overlay.transaction import Transaction
from store.port import Find, Put
from tests.energytag.kit import ACCOUNT, RegistryNode, device_row
from tests.overlay.kit import Chain
from tests.sample import ATTRIBUTES

SOURCE = "Example Registry"
HERE = "METAWATT"
FOREIGN_DEVICE = str(ATTRIBUTES["device_id"])
USER = "3f0b8f8a-5d0e-4b63-9a0e-2f1f4c1b7a01"


def foreign(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A bundle of another registry's."""
    return {
        **ATTRIBUTES,
        "issuance_id": f"00000000-0000-8000-8000-{number:012d}",
        "certificate_status": "Cancelled",
        "bundle_id_range_start": 1,
        "bundle_id_range_end": 1000,
        "bundle_quantity": 1000,
        **changes,
    }


def body(*bundles: dict[str, Any], proof: bytes | None = None) -> CertificateImport:
    told: dict[str, Any] = {"source_registry": SOURCE, "account_id": ACCOUNT, "bundles": list(bundles)}
    if proof is not None:
        told["proof"] = {"beef": b64encode(proof).decode()}
    return read(CertificateImport, told)


async def bring_in(registry: RegistryNode, *bundles: dict[str, Any], proof: bytes | None = None) -> Any:
    request = await prepare(registry.registry.ground, body(*bundles, proof=proof))
    return (await registry.act(Kind.IMPORT, request)).action


async def held(registry: RegistryNode) -> list[dict[str, Any]]:
    asked = read(GranularCertificateQuery, {"source_account_id": ACCOUNT, "source_user_id": USER})
    return (await query(registry.registry.ground, asked)).bundles


# Rows


async def test_what_is_imported_is_issued_here_and_says_where_it_came_from(registry: RegistryNode) -> None:
    action = await bring_in(
        registry, foreign(1), foreign(2, bundle_id_range_start=5, bundle_id_range_end=14, bundle_quantity=10)
    )
    assert action.state is State.RESOLVED
    assert action.result == {"source_registry": SOURCE, "proven": False, "bundles": 2, "energy_wh": 1010}
    first, second = sorted(await held(registry), key=lambda bundle: bundle["bundle_quantity"], reverse=True)
    assert first["certificate_status"] == "Active"
    assert first["account_id"] == ACCOUNT
    assert first["issuance_id"] != foreign(1)["issuance_id"]
    origin = {"source_registry": SOURCE, "issuance_id": foreign(1)["issuance_id"], "proven": False}
    assert first["import"] == first["note"]["import"] == origin
    assert (second["bundle_id_range_start"], second["bundle_id_range_end"]) == (5, 14)
    for name in set(ATTRIBUTES) - {"account_id"}:
        assert first[name] == ATTRIBUTES[name], name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bundle_quantity": 999}, "bundle_quantity 999"),
        ({"bundle_id_range_end": 0, "bundle_quantity": 1}, "above bundle_id_range_end"),
        ({"device_capacity": 1}, "more than 1 W"),
        ({"production_ending_interval": "2099-06-01T11:00:00Z"}, "production interval"),
        (
            {
                "production_starting_interval": "2027-06-01T10:00:00Z",
                "production_ending_interval": "2027-06-01T11:00:00Z",
            },
            "future",
        ),
        ({"expiry_datestamp": "2026-01-01"}, "expired"),
        ({"certificate_status": "Claimed"}, "is Claimed"),
        ({"certificate_status": "Locked"}, "is Locked"),
        ({"device_name": None}, "device_name is missing"),
        ({"issuance_id": "1"}, "issuance_id is not a UUID"),
        ({"face_value": "1"}, "face_value"),
    ],
)
async def test_a_row_that_cannot_be_taken_is_named(
    registry: RegistryNode, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(RowInvalid, match=f"row 2: .*{words}"):
        await prepare(registry.registry.ground, body(foreign(1), foreign(2, **changes)))


async def test_a_certificate_may_not_come_twice_in_one_import(registry: RegistryNode) -> None:
    later = foreign(1, bundle_id_range_start=1000, bundle_id_range_end=1999)
    with pytest.raises(RowInvalid, match=r"row 3: certificates 1000..1999 .* twice"):
        await prepare(registry.registry.ground, body(foreign(1), foreign(2), later))


async def test_a_certificate_may_not_come_in_again(registry: RegistryNode) -> None:
    assert (await bring_in(registry, foreign(1))).state is State.RESOLVED
    again = await bring_in(registry, foreign(2), foreign(1, bundle_id_range_start=1000, bundle_id_range_end=1999))
    assert again.state is State.REJECTED
    assert again.error["code"] == "ERR_IMPORT_INVALID"
    assert again.error["message"].startswith("row 2: ")
    assert await registry.store.count(CERTIFICATES) == 1
    rest = await bring_in(registry, foreign(2), foreign(1, bundle_id_range_start=1001, bundle_id_range_end=2000))
    assert rest.state is State.RESOLVED
    kept = await registry.store.get(IMPORTED, foreign(1)["issuance_id"])
    assert kept is not None
    assert kept["ranges"] == [[1, 2000]]


async def test_of_many_imports_of_one_bundle_at_once_one_wins(registry: RegistryNode) -> None:
    request = await prepare(registry.registry.ground, body(foreign(1)))
    outcomes = await asyncio.gather(*(registry.act(Kind.IMPORT, request) for _ in range(20)))
    states = [outcome.action.state for outcome in outcomes]
    assert states.count(State.RESOLVED) == 1
    assert states.count(State.REJECTED) == 19
    assert await registry.store.count(CERTIFICATES) == 1


async def test_imports_that_share_a_transaction_each_keep_their_own(registry: RegistryNode) -> None:
    requests = [
        await prepare(
            registry.registry.ground,
            body(foreign(1, bundle_id_range_start=1 + 10 * n, bundle_id_range_end=10 + 10 * n, bundle_quantity=10)),
        )
        for n in range(10)
    ]
    outcomes = await asyncio.gather(*(registry.act(Kind.IMPORT, request) for request in requests))
    assert {outcome.action.state for outcome in outcomes} == {State.RESOLVED}
    kept = await registry.store.get(IMPORTED, foreign(1)["issuance_id"])
    assert kept is not None
    assert kept["ranges"] == [[1, 100]]


async def test_what_was_imported_here_does_not_come_in_by_the_back_door(registry: RegistryNode) -> None:
    await bring_in(registry, foreign(1))
    (bundle,) = await held(registry)
    again = await bring_in(registry, bundle)
    assert again.state is State.REJECTED
    assert again.error["code"] == "ERR_IMPORT_INVALID"


async def test_a_device_of_this_registry_is_not_imported_for(registry: RegistryNode) -> None:
    await registry.store.commit([Put(DEVICES, device_row(FOREIGN_DEVICE))])
    action = await bring_in(registry, foreign(1))
    assert action.error["message"].startswith("row 1: device")


async def test_what_this_registry_issued_is_not_imported(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    (own,) = await held(registry)
    action = await bring_in(registry, foreign(1), {**own, "device_id": FOREIGN_DEVICE})
    assert action.error["code"] == "ERR_IMPORT_INVALID"
    assert action.error["message"] == f"row 2: issuance {own['issuance_id']} is of this registry"
    assert await registry.store.count(IMPORTED) == 0
    assert await check_registry(registry.store, registry.keyring) == []


async def test_an_import_that_takes_several_transactions(registry: RegistryNode) -> None:
    action = await bring_in(registry, *(foreign(number) for number in range(1, 251)))
    assert action.state is State.RESOLVED
    assert len(action.txids) == 3
    assert await registry.store.count(CERTIFICATES) == 250
    assert await registry.store.count(IMPORTED) == 500


async def test_more_bundles_than_an_action_may_have(registry: RegistryNode) -> None:
    with pytest.raises(InvalidFields):
        body(*[foreign()] * 20_001)


async def test_the_log_and_the_overlay_tell_again_what_was_imported(registry: RegistryNode) -> None:
    await bring_in(registry, foreign(1), foreign(2))
    await bring_in(registry, foreign(1, bundle_id_range_start=1001, bundle_id_range_end=2000))
    await bring_in(registry, foreign(2))
    assert await rebuild(registry.store, registry.keyring) == 3
    await registry.populate()
    kept = {row["_id"]: row for row in (await registry.store.find(IMPORTED, Find())).documents}
    assert len(kept) == 5
    assert kept[str(foreign(1)["issuance_id"])]["ranges"] == [[1, 2000]]
    for bundle in (*await held(registry), foreign(2)):
        again = await bring_in(registry, bundle)
        assert again.error["code"] == "ERR_IMPORT_INVALID"


# Tables


def test_a_table_is_read_as_it_was_written() -> None:
    bundle = foreign(1, device_name='Röof "1", south\nside', emissions_factor_production_device=12.5)
    text = bundle_table.head(["tx_id"]) + bundle_table.line(bundle | {"tx_id": "ab"}, ["tx_id"])
    (again,) = bundle_table.rows(text)
    assert again == bundle


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "row 0: .*lacks account_id"),
        ("issuance_id\r\n1\r\n", "row 0: .*lacks account_id"),
        (bundle_table.head() + "a,b\r\n", "row 1: there are 2 cells"),
        (bundle_table.head() + bundle_table.line(foreign()) + '"', "row 2: this is not CSV"),
        (
            bundle_table.head() + bundle_table.line(foreign(face_value="x")),
            "row 1: face_value is not a whole number",
        ),
        (bundle_table.head() + bundle_table.line(foreign(bundle_quantity=-1)), "row 1: bundle_quantity is not"),
        (bundle_table.head() + bundle_table.line(foreign(device_name="x" * 5000)), "row 1: device_name has more"),
        (
            bundle_table.head() + bundle_table.line(foreign(device_location=None)).replace(",,", ",[1 2],", 1),
            "row 1: ",
        ),
    ],
)
def test_a_table_that_cannot_be_read(text: str, words: str) -> None:
    with pytest.raises(RowInvalid, match=words):
        list(bundle_table.rows(text))


# Proofs


class Abroad:
    """Another registry on the same chain: it issues to an owner, who does with it what the test tells."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.life: list[Transaction] = []

    async def issue(self, **changes: Any) -> tuple[Token, Coin]:
        transaction, (token,) = await self.chain.issue([1000], **changes)
        await self._mined(transaction)
        return token, coins_of(transaction)[0]

    async def become(self, coin: Coin, *tokens: Token) -> list[Coin]:
        transaction = await self.chain.succeed([coin], tokens)
        await self._mined(transaction)
        return coins_of(transaction)[: len(tokens)]

    async def _mined(self, transaction: Transaction) -> None:
        await self.chain.mine(transaction)
        self.life.append(transaction)

    def proof(self, transactions: Sequence[Transaction] | None = None) -> bytes:
        chosen = self.life if transactions is None else transactions
        return write_beef([(each, self.chain.proofs[each.txid]) for each in chosen])


@pytest.fixture
def abroad(chain: Chain) -> Abroad:
    return Abroad(chain)


def row(token: Token) -> dict[str, Any]:
    return dict(token.bundle.attributes)


def cancelled(token: Token, beneficiary: Any = HERE) -> Token:
    return cancel(token, beneficiary, token.locking_key)


async def test_a_cancellation_for_this_registry_proves_an_import(registry: RegistryNode, abroad: Abroad) -> None:
    token, coin = await abroad.issue()
    gone = cancelled(token)
    await abroad.become(coin, gone)
    action = await bring_in(registry, row(gone), proof=abroad.proof())
    assert action.state is State.RESOLVED, action.error
    assert action.result["proven"] is True
    (bundle,) = await held(registry)
    assert bundle["import"]["proven"] is True


async def test_a_part_that_was_split_off_and_cancelled(registry: RegistryNode, abroad: Abroad) -> None:
    token, coin = await abroad.issue()
    left, right = split(token, [300, 700], [token.locking_key] * 2)
    _, second = await abroad.become(coin, left, right)
    gone = cancelled(right, {"name": HERE})
    await abroad.become(second, gone)
    with pytest.raises(ProofInvalid, match=r"row 1: .* certificates 1..300"):
        await bring_in(registry, row(left), proof=abroad.proof())
    assert (await bring_in(registry, row(gone), proof=abroad.proof())).result["energy_wh"] == 700


async def test_a_final_reservation_proves_and_another_does_not(registry: RegistryNode, abroad: Abroad) -> None:
    for configuration, proves in ((2, True), (1, False)):
        token, coin = await abroad.issue(registry_configuration=configuration)
        kept = succeed(
            reserve(token, token.locking_key),
            token.locking_key,
            extras={"reservation": {"target_registry": HERE}},
        )
        await abroad.become(coin, kept)
        if proves:
            assert (await bring_in(registry, row(kept), proof=abroad.proof())).state is State.RESOLVED
        else:
            with pytest.raises(ProofInvalid):
                await bring_in(registry, row(kept), proof=abroad.proof())


@pytest.mark.parametrize("beneficiary", ["Somebody else", {"name": "Somebody else"}])
async def test_a_cancellation_for_somebody_else_proves_nothing(
    registry: RegistryNode, abroad: Abroad, beneficiary: Any
) -> None:
    token, coin = await abroad.issue()
    gone = cancelled(token, beneficiary)
    await abroad.become(coin, gone)
    with pytest.raises(ProofInvalid, match="cancelled, or finally reserved, for this registry"):
        await bring_in(registry, row(gone), proof=abroad.proof())


async def test_what_is_still_active_or_was_claimed_since_is_not_given_up(
    registry: RegistryNode, abroad: Abroad
) -> None:
    token, coin = await abroad.issue()
    with pytest.raises(ProofInvalid):
        await bring_in(registry, row(token), proof=abroad.proof())
    gone = cancelled(token)
    (coin,) = await abroad.become(coin, gone)
    await abroad.become(coin, claim(gone, token.locking_key))
    with pytest.raises(ProofInvalid):
        await bring_in(registry, row(gone), proof=abroad.proof())


async def test_a_copy_that_nobody_was_entitled_to_make_proves_nothing(
    registry: RegistryNode, abroad: Abroad
) -> None:
    """A mined output with a real issuance's signed text, which does not spend that issuance's coin."""
    token, _ = await abroad.issue()
    gone = cancelled(token)
    await abroad.become(await abroad.chain.fund(), gone)
    with pytest.raises(ProofInvalid):
        await bring_in(registry, row(gone), proof=abroad.proof())


async def test_without_its_beginning_a_life_proves_nothing(registry: RegistryNode, abroad: Abroad) -> None:
    token, coin = await abroad.issue()
    gone = cancelled(token)
    await abroad.become(coin, gone)
    with pytest.raises(ProofInvalid):
        await bring_in(registry, row(gone), proof=abroad.proof(abroad.life[1:]))


async def test_an_issuer_that_this_node_does_not_trust(
    registry: RegistryNode, chain: Chain, abroad: Abroad
) -> None:
    trusted = chain.issuer
    chain.issuer = PrivateKey.from_int(3003)
    token, coin = await abroad.issue()
    chain.issuer = trusted
    gone = cancelled(token)
    await abroad.become(coin, gone)
    with pytest.raises(ProofInvalid):
        await bring_in(registry, row(gone), proof=abroad.proof())


async def test_a_transaction_without_its_path_or_with_a_false_one(
    registry: RegistryNode, chain: Chain, abroad: Abroad
) -> None:
    token, coin = await abroad.issue()
    gone = cancelled(token)
    await abroad.become(coin, gone)
    first, second = abroad.life
    proofs = [
        write_beef([(first, chain.proofs[first.txid]), (second, None)]),
        write_beef([(first, chain.proofs[first.txid]), (second, _bent(chain.proofs[second.txid]))]),
        b"nonsense",
    ]
    for proof in proofs:
        with pytest.raises(MetawattError) as caught:
            await bring_in(registry, row(gone), proof=proof)
        assert caught.value.code == "ERR_PROOF_INVALID"


def _bent(path: bytes) -> bytes:
    """A Merkle path with one bit turned in its last hash."""
    return path[:-1] + bytes((path[-1] ^ 1,))


async def test_a_row_that_says_another_thing_than_its_proof(registry: RegistryNode, abroad: Abroad) -> None:
    token, coin = await abroad.issue()
    gone = cancelled(token)
    await abroad.become(coin, gone)
    with pytest.raises(RowInvalid, match="row 1: device_name is 'Another'"):
        await bring_in(registry, {**row(gone), "device_name": "Another"}, proof=abroad.proof())


async def test_parents_come_first_in_whatever_order_they_arrive(abroad: Abroad) -> None:
    token, coin = await abroad.issue()
    for _ in range(5):
        (coin,) = await abroad.become(coin, token)
    backwards = parse_envelope(abroad.proof(abroad.life[::-1]))
    assert [member.transaction.txid for member in parents_first(backwards)] == [each.txid for each in abroad.life]


def test_the_names_of_this_registry(registry: RegistryNode) -> None:
    assert imports.names_of(registry.registry.ground) == {HERE, registry.keyring.identity.hex()}
