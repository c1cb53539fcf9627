"""The client on a real node: every group of calls, what is refused, what is repeated, and the public surface."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

import energytag.client
from api.node import Node
from api.server import Server
from config.errors import (
    BadRequest,
    Busy,
    ErrorCode,
    Forbidden,
    Internal,
    MetawattError,
    NotFound,
    Unauthorized,
    Unavailable,
)
from config.settings import Settings
from energytag.access import Role
from energytag.client import Connection, NotFinished, RegistryClient
from energytag.client.connection import may_repeat, pause_secs
from energytag.client.refusals import refusal
from energytag.models.certificate_actions import (
    GranularCertificateCancellation,
    GranularCertificateClaim,
    GranularCertificateReservation,
    GranularCertificateTransfer,
)
from energytag.models.certificates import GranularCertificateCreateMany, GranularCertificateQuery, Reading
from energytag.models.common import InvalidFields, moment_text
from energytag.models.directory import (
    AccountBase,
    AccountUpdate,
    DeviceBase,
    DeviceUpdate,
    OrganisationBase,
    OrganisationUpdate,
    UserBase,
    WhitelistUpdate,
)
from energytag.models.imports import CertificateImport
from energytag.models.login import ChallengeReply
from energytag.models.matching import MatchingQuestion, ResidualQuestion
from energytag.models.measurements import (
    ConsumptionQuestion,
    ConsumptionReadings,
    DeviceReadings,
    IntervalReading,
    ProductionQuestion,
)
from energytag.models.recurring import GranularCertificateRecurringTransfer
from energytag.models.storage import StorageQuery
from examples.registry_walkthrough import walk
from overlay.keys import PrivateKey
from tests.sample import ATTRIBUTES

NOBODY = "00000000-0000-0000-0000-000000000000"
HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=2)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[tuple[Node, str]]:
    """A node that listens, and its URL."""
    made = Node(Settings(node={"port": 0, "data_dir": tmp_path, "shutdown_secs": 5}))
    server = Server(made)
    await server.start()
    yield made, f"http://127.0.0.1:{server.port}"
    await server.stop()


@pytest.fixture
async def admin(node: tuple[Node, str]) -> AsyncIterator[RegistryClient]:
    async with RegistryClient(node[1], token=node[0].admin_token) as client:
        yield client


class Place:
    """An organisation with an account and a device, and what has been issued of it."""

    def __init__(self, client: RegistryClient) -> None:
        self.client = client
        self.organisation_id = self.account_id = self.device_id = ""
        self.user_id = NOBODY

    async def open(self, name: str = "Sunny Fields") -> Place:
        organisation = await self.client.organisations.create(
            OrganisationBase(name=name, business_id=1, primary_contact="office@example.org")
        )
        self.organisation_id = organisation.organisation_id
        account = await self.client.accounts.create(
            AccountBase(account_name=name, organisation_id=self.organisation_id)
        )
        self.account_id = account.account_id
        self.device_id = (await self.client.devices.create(self.device())).device_id
        return self

    async def inhabit(self) -> Place:
        """Have a user act for the account."""
        within = {"organisation_id": self.organisation_id}
        user = await self.client.users.create(
            UserBase(name="Ada", primary_contact="a", role=[Role.ACCOUNT_HOLDER], **within)
        )
        self.user_id = user.user_id
        await self.client.accounts.update(self.account_id, AccountUpdate(user_id=user.user_id, **within))
        return self

    def device(self, **changes: Any) -> DeviceBase:
        fields: dict[str, Any] = {
            "device_name": "Roof 1",
            "account_id": self.account_id,
            "energy_source": "solar_pv",
            "technology_type": "solar_pv",
            "capacity": 100_000,
            "peak_demand": 0,
            "grid": "10YNL----------L",
            "operational_date": "2021-04-01",
            "location": (52.1, 5.2),
            "country": "NL",
            "zone": "NL",
        }
        return DeviceBase(**{**fields, **changes})

    async def issue(self, count: int, energy_wh: int = 1000) -> None:
        readings = [Reading(**each) for each in hourly(count, energy_wh)]
        body = GranularCertificateCreateMany(device_id=self.device_id, readings=readings)
        action = await self.client.certificates.create_many(body)
        await self.client.actions.wait(action.action_id)

    @property
    def acting(self) -> dict[str, str]:
        return {"source_account_id": self.account_id, "source_user_id": self.user_id}

    async def bundles(self, **filters: Any) -> list[Any]:
        asked = GranularCertificateQuery(**self.acting, **filters)
        return [bundle async for bundle in self.client.certificates.query(asked)]


def hourly(count: int, energy_wh: int) -> list[dict[str, Any]]:
    starts = [HOUR + timedelta(hours=number) for number in range(count)]
    return [
        {"start": moment_text(start), "end": moment_text(start + timedelta(hours=1)), "energy_wh": energy_wh}
        for start in starts
    ]


@pytest.fixture
async def place(admin: RegistryClient) -> Place:
    return await Place(admin).open()


# The walk


async def test_the_walk_through_the_registry(node: tuple[Node, str], capsys: pytest.CaptureFixture[str]) -> None:
    statement = (await walk(node[1], node[0].admin_token)).statement
    assert statement.energy_wh == 40_000
    assert [each.beneficiary for each in statement.beneficiaries] == ["Steel Works"]
    told = capsys.readouterr().out
    assert "25,000 of 75,000 Wh are covered hour by hour" in told


# Group by group


async def test_the_directory(admin: RegistryClient, place: Place) -> None:
    changed = await admin.organisations.update(place.organisation_id, OrganisationUpdate(name="Sunnier Fields"))
    assert (await admin.organisations.get(place.organisation_id)).name == changed.name == "Sunnier Fields"
    user = await admin.users.create(
        UserBase(name="Ada", primary_contact="a", role=[Role.ACCOUNT_HOLDER], organisation_id=place.organisation_id)
    )
    update = AccountUpdate(organisation_id=place.organisation_id, user_id=user.user_id)
    account = await admin.accounts.update(place.account_id, update)
    assert [each.user_id for each in account.users] == [user.user_id]
    listed = await admin.accounts.set_whitelist(place.account_id, WhitelistUpdate(whitelist=[]))
    assert listed.whitelist == (await admin.accounts.whitelist(place.account_id)).whitelist == []
    assert (await admin.accounts.set_whitelist(place.account_id, WhitelistUpdate(whitelist=None))).whitelist is None
    device = await admin.devices.update(place.device_id, DeviceUpdate(account_id=place.account_id, capacity=1))
    assert device.capacity == 1
    assert [each.device_id async for each in admin.accounts.devices(place.account_id)] == [place.device_id]
    assert [each.device_id async for each in admin.devices.list()] == [place.device_id]
    assert [each.user_id async for each in admin.users.list()] == [user.user_id]
    assert [each.account_id async for each in admin.accounts.list()] == [place.account_id]
    assert [each.name async for each in admin.organisations.list()] == ["Sunnier Fields"]
    assert (await admin.devices.delete(place.device_id)).device_id == place.device_id
    with pytest.raises(NotFound) as caught:
        await admin.devices.get(place.device_id)
    assert caught.value.code is ErrorCode.DEVICE_UNKNOWN


async def test_a_query_goes_through_its_pages(place: Place) -> None:
    await place.issue(25)
    page = await place.client.certificates.query_page(GranularCertificateQuery(**place.acting, limit=10))
    assert len(page.filtered_certificate_bundles) == 10
    assert page.cursor
    bundles = await place.bundles(limit=10)
    assert len({bundle.issuance_id for bundle in bundles}) == 25
    first = bundles[0]
    assert (await place.client.certificates.bundle(first.outpoint)).beef
    assert (await place.client.certificates.issuance(first.issuance_id)).bundles[0].outpoint == first.outpoint
    assert (await place.client.certificates.lineage(first.issuance_id)).timeline


async def test_acting_on_certificates(admin: RegistryClient, place: Place) -> None:
    other = await Place(admin).open("Steel Works")
    await place.issue(3)
    moved = GranularCertificateTransfer(
        **place.acting, certificate_quantity=2000, target_account_id=other.account_id
    )
    done = await admin.certificates.transfer(moved)
    action = await admin.actions.wait(str(done.action_id))
    assert await admin.actions.resume(str(done.action_id)) == action.model_copy(update={"request": None})
    assert action.tx_ids
    for body, call in (
        (GranularCertificateCancellation(**other.acting, certificate_quantity=1000), admin.certificates.cancel),
        (GranularCertificateClaim(**other.acting), admin.certificates.claim),
        (GranularCertificateReservation(**other.acting, certificate_status="Active"), admin.certificates.reserve),
    ):
        response = await call(body)  # type: ignore[operator]
        await admin.actions.wait(str(response.action_id))
    assert sorted(bundle.certificate_status for bundle in await other.bundles()) == ["Claimed", "Reserved"]
    listed = [each.action async for each in admin.actions.list(other.account_id)]
    assert listed[:3] == ["reserve", "claim", "cancel"]


async def test_what_is_rejected_is_raised_with_its_code(place: Place) -> None:
    with pytest.raises(BadRequest) as caught:
        await place.client.certificates.cancel(GranularCertificateCancellation(**place.acting))
    assert caught.value.code is ErrorCode.NOTHING_SELECTED


async def test_recurring_actions(admin: RegistryClient, place: Place) -> None:
    other = await Place(admin).open("Steel Works")
    await place.inhabit()
    body = GranularCertificateRecurringTransfer(
        **place.acting,
        target_account_id=other.account_id,
        initial_transfer_datetime=moment_text(datetime.now(UTC) + timedelta(days=1)),
        recurring_transfer_period_units="months",
    )
    begun = await admin.certificates.recurring_transfer(body)
    series = await admin.recurring.get(str(begun.action_id))
    assert (series.state, series.period_units, series.occurrences) == ("active", "months", [])
    assert [each.recurring_id async for each in admin.recurring.list(place.account_id)] == [series.recurring_id]
    assert (await admin.recurring.stop(series.recurring_id)).state == "stopped"
    with pytest.raises(MetawattError) as caught:
        await admin.recurring.stop(series.recurring_id)
    assert caught.value.code is ErrorCode.STATUS_FORBIDS


async def test_an_occurrence_is_carried_out_in_the_background(tmp_path: Path) -> None:
    settings = Settings(
        node={"port": 0, "data_dir": tmp_path, "shutdown_secs": 5}, registry={"recurring_poll_secs": 0.05}
    )
    made = Node(settings)
    server = Server(made)
    await server.start()
    async with RegistryClient(f"http://127.0.0.1:{server.port}", token=made.admin_token) as admin:
        place, other = await Place(admin).open(), await Place(admin).open("Steel Works")
        await place.inhabit()
        await place.issue(1)
        body = GranularCertificateRecurringTransfer(
            **place.acting,
            target_account_id=other.account_id,
            initial_transfer_datetime=moment_text(datetime.now(UTC)),
        )
        begun = await admin.certificates.recurring_transfer(body)
        async with asyncio.timeout(20):
            while not (series := await admin.recurring.get(str(begun.action_id))).occurrences:
                await asyncio.sleep(0.05)
        await admin.actions.wait(series.occurrences[0].action_id)
        assert len(await other.bundles()) == 1
    await server.stop()


async def test_readings_matching_and_residual_mix(place: Place) -> None:
    client = place.client
    readings = [IntervalReading(**each) for each in hourly(3, 1000)]
    body = DeviceReadings(device_id=place.device_id, readings=readings, issue=True)
    taken = await client.measurements.produce(body)
    assert (taken.accepted, taken.repeated) == (3, 0)
    again = await client.measurements.produce(body)
    assert (again.accepted, again.repeated) == (0, 3)
    assert again.issuance
    assert again.issuance[0].already_issued == 3
    kept = client.measurements.produced(ProductionQuestion(device_id=place.device_id))
    assert [each.energy_wh async for each in kept] == [1000] * 3
    await client.certificates.cancel(GranularCertificateCancellation(**place.acting))
    table = "account_id,zone,start,end,energy_wh\n" + "".join(
        f"{place.account_id},NL,{each.start},{each.end},500\n" for each in readings
    )
    assert (await client.measurements.consume_table(table.encode())).accepted == 3
    consumption = ConsumptionReadings(account_id=place.account_id, zone="NL", readings=readings[:1])
    with pytest.raises(BadRequest):
        await client.measurements.consume(consumption)
    consumed = client.measurements.consumed(ConsumptionQuestion(account_id=place.account_id))
    assert len([each async for each in consumed]) == 3
    window = {"start": readings[0].start, "end": readings[-1].end}
    matching = await client.matching.coverage(MatchingQuestion(account_id=place.account_id, **window))
    assert matching.totals["hour"].coverage == "1/1"
    mix = await client.matching.residual_mix(ResidualQuestion(zone="NL", **window))
    assert mix.held_wh == 0


async def test_storage_is_asked(place: Place) -> None:
    asked = StorageQuery(**place.acting)
    assert [each async for each in place.client.storage.query_scr(asked)] == []
    assert [each async for each in place.client.storage.query_sdr(asked)] == []
    with pytest.raises(NotFound):
        await place.client.storage.lineage(NOBODY)


async def test_files_out_and_in(place: Place) -> None:
    await place.issue(3)
    client, asked = place.client, GranularCertificateQuery(**place.acting)
    table = b"".join([piece async for piece in client.certificates.export(asked, "csv")])
    lines = b"".join([piece async for piece in client.certificates.export(asked)])
    assert len(table.splitlines()) == 4
    assert [orjson.loads(line)["bundle_quantity"] for line in lines.splitlines()] == [1000] * 3
    with pytest.raises(BadRequest) as caught:
        await client.certificates.bring_in_table(table, "Example Registry", place.account_id)
    assert caught.value.code is ErrorCode.IMPORT_INVALID
    assert caught.value.message.startswith("row 1: device")
    foreign = {
        **ATTRIBUTES,
        "issuance_id": NOBODY.replace("0000-0000", "8000-8000"),
        "certificate_status": "Cancelled",
        "bundle_id_range_start": 1,
        "bundle_id_range_end": 9,
        "bundle_quantity": 9,
    }
    body = CertificateImport(source_registry="Example Registry", account_id=place.account_id, bundles=[foreign])
    done = await client.certificates.bring_in(body)
    assert (done.bundles, done.energy_wh, done.proven, len(done.tx_ids)) == (1, 9, False, 1)


async def test_logging_in_with_a_wallet(node: tuple[Node, str], admin: RegistryClient, place: Place) -> None:
    wallet = PrivateKey.from_int(77)
    user = await admin.users.create(
        UserBase(
            name="Ada",
            primary_contact="a",
            role=[Role.ACCOUNT_HOLDER],
            organisation_id=place.organisation_id,
            identity_key=wallet.public.hex(),
        )
    )

    async def sign(challenge: ChallengeReply) -> bytes:
        key = wallet.derive(challenge.protocol, challenge.key_id, bytes.fromhex(challenge.counterparty))
        return key.sign(sha256(bytes.fromhex(challenge.challenge)).digest())

    async with RegistryClient(node[1]) as client:
        with pytest.raises(Unauthorized):
            await client.users.me()
        assert (await client.login(wallet.public.hex(), sign)).user_id == user.user_id
        assert (await client.users.me()).name == "Ada"
        with pytest.raises(Forbidden):
            await client.organisations.create(OrganisationBase(name="x", business_id=1, primary_contact="x"))


async def test_a_body_that_does_not_fit_names_its_fields(admin: RegistryClient, place: Place) -> None:
    wrong = place.device(device_name="x").model_copy(update={"capacity": -1, "country": "XX"})
    with pytest.raises(InvalidFields) as caught:
        await admin.devices.create(wrong)
    assert {each["loc"][1] for each in caught.value.detail} == {"capacity", "country"}


# Refusals and repeats, as tables


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, {"code": "ERR_BAD_JSON", "message": "m"}, BadRequest, ErrorCode.BAD_JSON),
        (401, {"code": "ERR_UNAUTHORIZED", "message": "m"}, Unauthorized, ErrorCode.UNAUTHORIZED),
        (403, {"code": "ERR_NOT_WHITELISTED", "message": "m"}, Forbidden, ErrorCode.NOT_WHITELISTED),
        (404, {"code": "ERR_ACCOUNT_UNKNOWN", "message": "m"}, NotFound, ErrorCode.ACCOUNT_UNKNOWN),
        (404, {"code": "ERR_ROUTE_NOT_FOUND", "description": "m"}, NotFound, ErrorCode.ROUTE_NOT_FOUND),
        (409, {"code": "ERR_ISSUED_TWICE", "message": "m"}, BadRequest, ErrorCode.ISSUED_TWICE),
        (422, {"code": "ERR_INVALID_FIELD", "message": "m", "detail": [{"loc": ["body", "x"], "msg": "m"}]},
         InvalidFields, ErrorCode.INVALID_FIELD),
        (422, {"code": "ERR_IMPORT_INVALID", "message": "m", "detail": []}, BadRequest, ErrorCode.IMPORT_INVALID),
        (429, {"code": "ERR_OVERLOADED", "message": "m"}, Busy, ErrorCode.OVERLOADED),
        (503, {"code": "ERR_WALLET_EMPTY", "message": "m"}, Unavailable, ErrorCode.WALLET_EMPTY),
        (500, {"code": "ERR_INTERNAL", "message": "m"}, Internal, ErrorCode.INTERNAL),
        (502, None, Internal, ErrorCode.INTERNAL),
        (400, {"code": "ERR_OF_A_LATER_RELEASE", "message": "m"}, BadRequest, ErrorCode.BAD_REQUEST),
        (400, ["no object"], BadRequest, ErrorCode.BAD_REQUEST),
    ],
)  # fmt: skip
def test_refusals(status: int, body: Any, kind: type[MetawattError], code: ErrorCode) -> None:
    error = refusal(status, body)
    assert type(error) is kind
    assert error.code is code


@pytest.mark.parametrize(
    ("error", "reading", "changing"),
    [
        (Busy(), True, True),
        (Unavailable(code=ErrorCode.STARTING), True, True),
        (Unavailable(code=ErrorCode.STORAGE_UNAVAILABLE), True, False),
        (Unavailable(code=ErrorCode.WALLET_EMPTY), True, False),
        (TimeoutError(), True, False),
        (aiohttp.ServerDisconnectedError(), True, False),
        (BadRequest(), False, False),
        (Internal(), False, False),
        (Unauthorized(), False, False),
    ],
)
def test_what_may_be_repeated(error: Exception, reading: bool, changing: bool) -> None:
    assert may_repeat(error, is_safe=True) is reading
    assert may_repeat(error, is_safe=False) is changing


def test_pauses_grow_and_heed_what_is_asked() -> None:
    pauses = [pause_secs(attempt, TimeoutError()) for attempt in range(1, 20)]
    assert pauses[:3] == [0.2, 0.4, 0.8]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30
    assert pause_secs(1, Busy(retry_after_secs=7)) == 7
    assert pause_secs(1, Busy(retry_after_secs=7000)) == 30


class Stubborn:
    """A server that answers as it is told, one answer after the other."""

    def __init__(self, answers: Sequence[web.Response | None]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self.asked += 1
        answer = self._answers.pop(0)
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return answer


def _starting() -> web.Response:
    return web.json_response({"code": "ERR_STARTING", "message": "m"}, status=503)


def _lacking() -> web.Response:
    return web.json_response({"code": "ERR_STORAGE_UNAVAILABLE", "message": "m"}, status=503)


def _busy() -> web.Response:
    return web.json_response({"code": "ERR_OVERLOADED", "message": "m"}, status=429, headers={"Retry-After": "3"})


def _done() -> web.Response:
    return web.json_response({"done": True})


@pytest.mark.parametrize(
    ("method", "answers", "asked", "pauses", "outcome"),
    [
        ("GET", [None, _lacking, _busy, _done], 4, [0.2, 3], None),
        ("GET", [_lacking, _lacking, _lacking, _lacking, _lacking], 5, [0.2, 0.4, 0.8, 1.6], Unavailable),
        ("POST", [_busy, _starting, _done], 3, [3, 0.4], None),
        ("POST", [_lacking], 1, [], Unavailable),
        ("POST", [None], 1, [], Unavailable),
    ],
)
async def test_what_is_repeated(
    aiohttp_server: Any,
    method: str,
    answers: list[Any],
    asked: int,
    pauses: list[float],
    outcome: type[Exception] | None,
) -> None:
    stubborn = Stubborn([None if each is None else each() for each in answers])
    app = web.Application()
    app.router.add_route("*", "/thing", stubborn.answer)
    server = await aiohttp_server(app)
    slept: list[float] = []

    async def sleep(secs: float) -> None:
        slept.append(secs)

    connection = Connection(f"http://127.0.0.1:{server.port}", attempts=5, sleep=sleep)
    await connection.open()
    try:
        if outcome is None:
            assert (await connection.ask(method, "/thing", {})).value == {"done": True}
        else:
            with pytest.raises(outcome):
                await connection.ask(method, "/thing", {})
    finally:
        await connection.close()
    assert stubborn.asked == asked
    assert slept == pauses


async def test_an_unfinished_action_says_which(aiohttp_server: Any) -> None:
    told = {"action_id": NOBODY, "action": "device_create", "action_state": "received"}
    stubborn = Stubborn([web.json_response(told, status=202)])
    app = web.Application()
    app.router.add_route("*", "/devices", stubborn.answer)
    server = await aiohttp_server(app)
    async with RegistryClient(f"http://127.0.0.1:{server.port}") as client:
        with pytest.raises(NotFinished) as caught:
            await client.devices.create(Place(client).device(account_id=NOBODY))
    assert caught.value.action_id == NOBODY


async def test_a_client_that_is_not_open() -> None:
    with pytest.raises(Internal, match="not open"):
        await RegistryClient("http://127.0.0.1:1").users.me()


async def test_nobody_is_there() -> None:
    async with RegistryClient("http://127.0.0.1:1", attempts=1) as client:
        with pytest.raises(Unavailable) as caught:
            await client.users.me()
    assert caught.value.code is ErrorCode.REGISTRY_UNAVAILABLE


# The surface


def _public(value: object) -> list[str]:
    return sorted(name for name in dir(value) if not name.startswith("_"))


def test_the_public_surface() -> None:
    client = RegistryClient("http://127.0.0.1:1")
    assert {name: _public(group) for name, group in vars(client).items() if not name.startswith("_")} == {
        "organisations": ["create", "delete", "get", "list", "update"],
        "users": ["create", "delete", "get", "list", "me", "update"],
        "accounts": ["create", "delete", "devices", "get", "list", "set_whitelist", "update", "whitelist"],
        "devices": ["create", "delete", "get", "list", "update"],
        "certificates": [
            "bring_in", "bring_in_table", "bundle", "cancel", "claim", "create", "create_many", "export",
            "issuance", "lineage", "lock", "publish", "query", "query_page", "recurring_cancel",
            "recurring_claim", "recurring_transfer", "release", "reserve", "split", "transfer", "unlock",
            "update_mutables", "withdraw",
        ],
        "storage": [
            "allocate", "create_scr", "create_sdr", "issue_sdgc", "lineage", "query_scr", "query_sdr",
            "update_mutables", "withdraw_scr", "withdraw_sdr",
        ],
        "measurements": ["consume", "consume_table", "consumed", "produce", "produce_table", "produced"],
        "matching": ["coverage", "residual_mix", "statement", "statement_page"],
        "actions": ["complete", "get", "list", "resume", "wait"],
        "recurring": ["get", "list", "stop"],
    }  # fmt: skip
    assert set(_public(client)) - vars(client).keys() == {"login", "token_for"}
    assert energytag.client.__all__ == sorted(energytag.client.__all__)


def test_the_client_imports_no_part_of_the_server() -> None:
    folder = Path(energytag.client.__file__).parent
    allowed = ("config.errors", "energytag.client", "energytag.models")
    own = {"api", "basket", "certificates", "cli", "config", "energytag", "lookup", "overlay", "store", "topics"}
    for file in folder.glob("*.py"):
        imported = [
            node.module or ""
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            if isinstance(node, ast.ImportFrom)
        ]
        for module in imported:
            assert module.partition(".")[0] not in own or module.startswith(allowed), (file.name, module)
