"""Simulated meters against a real intake over real sockets: what is accepted, refused, tried again and kept."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from bridge.meters.formats import Format
from bridge.simulator.backlog import Backlog
from bridge.simulator.gateway import Gateway as Client
from bridge.simulator.gateway import NotNow
from bridge.simulator.plan import Plan
from bridge.simulator.registering import RegisteredOtherwise, register_all
from bridge.simulator.retrying import LONGEST_PAUSE_SECS, pause_secs
from bridge.simulator.run import Run
from bridge.simulator.site import SiteKind
from config.errors import BadRequest, ErrorCode, MetawattError
from config.settings import Settings
from store.sqlite import SqliteStore
from tests.bridge.readings_kit import NOW_MS, Gateway
from tests.bridge.simulator_kit import Fault, GatewayServer


class Clock:
    """Time that passes when somebody sleeps, and then at once."""

    def __init__(self) -> None:
        self.ms = NOW_MS
        self.pauses: list[float] = []

    def now_ms(self) -> int:
        return self.ms

    async def sleep(self, secs: float) -> None:
        """Until the clock has come so far; whoever sleeps shortest moves it."""
        until_ms = self.ms + round(secs * 1000)
        while self.ms < until_ms:
            await asyncio.sleep(0)
            self.ms = min(until_ms, self.ms + 1000)

    async def pause(self, secs: float) -> None:
        self.pauses.append(secs)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def server(tmp_path, clock):
    gateway = Gateway(SqliteStore(tmp_path / "node.db"), Settings())
    gateway.intake._now_ms = gateway.directory._now_ms = clock.now_ms
    await gateway.open()
    server = GatewayServer(gateway)
    await server.start()
    yield server
    await server.stop()
    await gateway.store.close()


@asynccontextmanager
async def client_of(server, clock):
    async with Client(server.url, sleep=clock.pause) as client:
        yield client


def plan_of(tmp_path, **more):
    return Plan(keys=tmp_path / "keys", interval_secs=60, **more)


async def registered(client, plan, clock):
    fleet = plan.fleet(clock.now_ms)
    await register_all(client, fleet, lambda done, of: None)
    return fleet


async def finished(run, timeout=20):
    await asyncio.wait_for(run.go(asyncio.Event(), asyncio.Event()), timeout)
    return run.tally


# Trying again


@pytest.mark.parametrize(
    ("attempt", "status", "retry_after", "pause"),
    [
        (1, None, None, 1),
        (2, None, None, 2),
        (3, None, None, None),
        (1, 500, None, 1),
        (2, 503, None, 2),
        (3, 503, None, None),
        (1, 408, None, 1),
        (1, 429, None, 1),
        (1, 429, 7, 7),
        (2, 429, 1, 2),
        (1, 503, 5, 5),
        (1, 429, LONGEST_PAUSE_SECS + 1, None),
        (1, 400, None, None),
        (1, 401, 1, None),
        (1, 403, None, None),
        (1, 404, None, None),
        (1, 409, None, None),
        (1, 422, None, None),
    ],
)
def test_what_is_tried_again_and_when(attempt, status, retry_after, pause):
    assert pause_secs(attempt, status, retry_after) == pause


@pytest.fixture
async def ready(tmp_path, server, clock):
    """A client, and the body of a reading that the server takes."""
    async with client_of(server, clock) as client:
        (meter,) = await registered(client, plan_of(tmp_path, kind=SiteKind.WIND, skew_secs=0), clock)
        start_ms = next(
            start for start in range(NOW_MS - 60_000, 0, -60_000) if meter.measured(start).energy.surplus_mwh > 0
        )
        yield client, meter.signed(meter.measured(start_ms))


@pytest.mark.parametrize(
    ("faults", "pauses"),
    [
        ([], []),
        ([Fault(500)], [1]),
        ([Fault(503), Fault(502)], [1, 2]),
        ([Fault(429, {"Retry-After": "9"})], [9]),
        ([Fault(429, {"Retry-After": "soon"})], [1]),
        ([Fault(loses_answer=True)], [1]),
        ([Fault(loses_answer=True), Fault(loses_answer=True)], [1, 2]),
    ],
)
async def test_a_reading_gets_through_passing_troubles_once(server, clock, ready, faults, pauses):
    client, body = ready
    server.faults.extend(faults)
    shown = await client.submit(body)
    assert shown["kwh_amount"] == body["kwh_amount"]
    assert clock.pauses == pauses
    assert server.calls == len(faults) + 1
    assert await server.mint_all() == 1


async def test_a_meter_gives_up_after_three_tries(server, clock, ready):
    client, body = ready
    server.faults.extend([Fault(500)] * 3)
    with pytest.raises(NotNow):
        await client.submit(body)
    assert (server.calls, clock.pauses) == (3, [1, 2])


async def test_what_is_the_meters_own_fault_is_not_tried_again(server, clock, ready):
    client, body = ready
    with pytest.raises(MetawattError) as raised:
        await client.submit(body | {"kwh_amount": "9.000000"})
    assert raised.value.code is ErrorCode.SIGNATURE_INVALID
    assert not isinstance(raised.value, NotNow)
    assert (server.calls, clock.pauses) == (1, [])


async def test_a_gateway_that_is_not_there_is_told(clock):
    async with Client("http://127.0.0.1:9", sleep=clock.pause) as client:
        with pytest.raises(NotNow, match="does not answer") as raised:
            await client.submit({})
    assert raised.value.code is ErrorCode.REGISTRY_UNAVAILABLE
    assert clock.pauses == [1, 2]


# Registering


async def test_meters_are_registered_once_and_found_the_second_time(tmp_path, server, clock):
    async with client_of(server, clock) as client:
        first = await registered(client, plan_of(tmp_path, meters=20), clock)
        await registered(client, plan_of(tmp_path, meters=20), clock)
        for meter in first:
            shown = await client.meter(meter.serial)
            assert (shown["status"], shown["wallet"]) == ("verified", meter.wallet)


async def test_other_keys_under_the_same_serials_are_refused(tmp_path, server, clock):
    async with client_of(server, clock) as client:
        await registered(client, plan_of(tmp_path), clock)
        with pytest.raises(RegisteredOtherwise, match="METER-001"):
            await registered(client, plan_of(tmp_path / "other"), clock)


# Runs


@pytest.mark.parametrize("form", list(Format))
@pytest.mark.parametrize("readings_a_call", [1, 100])
async def test_every_reading_is_counted_and_taken_once(tmp_path, server, clock, form, readings_a_call):
    plan = plan_of(tmp_path, meters=20, form=form, speed=24)
    async with client_of(server, clock) as client:
        fleet = await registered(client, plan, clock)
        run = Run(fleet, client, count=6, readings_a_call=readings_a_call, sleep=clock.sleep)
        tally = await finished(run)
        await server.mint_all()
        await run.following.round()
    total = tally.total
    assert total.taken == 120
    assert total.taken == total.skipped + total.accepted
    assert total.accepted > 20
    assert (total.refused, total.dropped, total.waiting, len(run.backlog)) == (0, 0, 0, 0)
    assert total.minted == total.accepted
    assert total.minted_mwh == total.accepted_mwh == sum(tally.by_wallet.values())
    assert tally.kinds[SiteKind.LOAD].skipped == tally.kinds[SiteKind.LOAD].taken
    if readings_a_call > 1:
        assert server.largest_batch > 1


async def test_refusals_are_counted_by_their_codes(tmp_path, server, clock):
    plan = plan_of(tmp_path, meters=4, kind=SiteKind.WIND)
    async with client_of(server, clock) as client:
        tally = await finished(Run(plan.fleet(clock.now_ms), client, count=5, sleep=clock.sleep))
    assert tally.total.accepted == 0
    assert tally.total.refused == tally.codes[ErrorCode.METER_UNKNOWN] > 0


async def test_readings_wait_for_a_gateway_that_comes_back(tmp_path, server, clock):
    plan = plan_of(tmp_path, meters=4, kind=SiteKind.WIND)
    async with client_of(server, clock) as client:
        fleet = await registered(client, plan, clock)
        server.faults.extend([Fault(503)] * 9)
        tally = await finished(Run(fleet, client, count=3, sleep=clock.sleep))
    assert tally.total.accepted == tally.total.taken - tally.total.skipped > 0
    assert tally.troubles


async def test_stopping_ends_a_run_without_end(tmp_path, server, clock):
    stop, leave = asyncio.Event(), asyncio.Event()
    async with client_of(server, clock) as client:
        run = Run(await registered(client, plan_of(tmp_path, meters=3), clock), client, sleep=clock.sleep)
        going = asyncio.create_task(run.go(stop, leave))
        while run.tally.total.taken < 9:
            await asyncio.sleep(0.01)
        stop.set()
        await asyncio.wait_for(going, 10)
    assert len(run.backlog) == 0


async def test_leaving_ends_the_wait_for_a_gateway_that_is_gone(tmp_path, server, clock):
    stop, leave = asyncio.Event(), asyncio.Event()
    async with client_of(server, clock) as client:
        fleet = await registered(client, plan_of(tmp_path, meters=3, kind=SiteKind.WIND), clock)
        await server.stop()
        run = Run(fleet, client, count=2, sleep=clock.sleep)
        going = asyncio.create_task(run.go(stop, leave))
        while not run.tally.troubles:
            await asyncio.sleep(0.01)
        leave.set()
        await asyncio.wait_for(going, 10)
    assert len(run.backlog) == run.tally.total.waiting > 0


async def test_waiting_for_a_gateway_that_is_gone_has_an_end(tmp_path, server, clock):
    async with client_of(server, clock) as client:
        fleet = await registered(client, plan_of(tmp_path, kind=SiteKind.WIND, seed=3), clock)
        await server.stop()
        run = Run(fleet, client, count=60, sleep=clock.sleep, wait_secs=0.2)
        assert (await finished(run)).total.waiting == len(run.backlog) > 0


async def test_a_full_backlog_drops_the_oldest_and_says_so():
    backlog = Backlog(2)
    assert await backlog.put("first") is None
    assert await backlog.put("second") is None
    assert await backlog.put("third") == "first"
    assert await backlog.take(5) == ["second", "third"]
    await backlog.put_back(["second"])
    await backlog.done(1)
    assert await backlog.take(1) == ["second"]
    assert len(backlog) == 1


async def test_an_answer_that_is_not_understood_ends_nothing_quietly(tmp_path, server, clock):
    async with client_of(server, clock) as client:
        with pytest.raises(MetawattError) as raised:
            await client.get("/nowhere")
        assert not isinstance(raised.value, NotNow)
        assert not isinstance(raised.value, BadRequest)
