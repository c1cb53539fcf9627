"""The hub: who hears what, how far one may fall behind, and notices of the node's other processes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import hypothesis
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.hub import GOING_AWAY, TRY_AGAIN, Hub
from bridge.listener import Listener
from bridge.notices import Notice, NoticeKind
from bridge.relay import Relay
from bridge.wants import ALL_KINDS, Wants
from config.errors import Busy, ErrorCode, Unavailable
from config.settings import LiveSettings

RECEIVED, MINTED, REFUSED, BATCH = (
    NoticeKind.RECEIVED,
    NoticeKind.MINTED,
    NoticeKind.REFUSED,
    NoticeKind.BATCH_DONE,
)


def hub_of(**settings: Any) -> Hub:
    return Hub(LiveSettings(**settings))


def notice(kind: NoticeKind = RECEIVED, wallet: str | None = "w1", meter: str | None = "m1", **body: Any) -> Notice:
    return Notice(kind, body, wallet, meter)


async def heard(listener: Listener) -> list[dict[str, Any]]:
    """What waits for a listener now."""
    try:
        async with asyncio.timeout(0.01):
            return [orjson.loads(text) for text in await listener.take()]
    except TimeoutError:
        return []


def names(*values: str) -> frozenset[str]:
    return frozenset(values)


@pytest.mark.parametrize(
    ("wants", "told", "takes"),
    [
        (Wants(), notice(), True),
        (Wants(kinds=frozenset({MINTED})), notice(), False),
        (Wants(kinds=frozenset()), notice(BATCH, None, None), False),
        (Wants(meters=names("m1")), notice(), True),
        (Wants(meters=names("m2")), notice(), False),
        (Wants(meters=names()), notice(), False),
        (Wants(wallets=names("w1")), notice(), True),
        (Wants(wallets=names("w2")), notice(), False),
        (Wants(meters=names("m1"), wallets=names("w2")), notice(), False),
        (Wants(may=names("m2")), notice(), False),
        (Wants(may=names("m1"), wallets=names("w1")), notice(), True),
        (Wants(may=names("m2"), meters=names("m1")), notice(), False),
        (Wants(may=names("m1")), notice(meter=None), False),
        # A batch's notice is nobody's in particular.
        (Wants(may=names(), meters=names("m9")), notice(BATCH, None, None), True),
    ],
)
async def test_what_a_listener_takes(wants: Wants, told: Notice, takes: bool) -> None:
    assert wants.takes(told) is takes
    hub = hub_of()
    listener = hub.join("a", wants)
    hub.tell(told)
    assert bool(await heard(listener)) is takes


_METERS = st.sampled_from(["m1", "m2", "m3"])
_WALLETS = st.sampled_from(["w1", "w2"])
_WANTS = st.builds(
    Wants,
    st.frozensets(st.sampled_from(NoticeKind)),
    st.none() | st.frozensets(_METERS),
    st.none() | st.frozensets(_WALLETS),
    st.none() | st.frozensets(_METERS),
)
_NOTICES = st.builds(
    Notice,
    st.sampled_from(NoticeKind),
    st.just({}),
    st.none() | _WALLETS,
    st.none() | _METERS,
)


@hypothesis.settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(_WANTS, _WANTS), max_size=6), st.lists(_NOTICES, max_size=8))
async def test_places_find_exactly_those_who_take_a_notice(
    wishes: list[tuple[Wants, Wants]], notices: list[Notice]
) -> None:
    """Also after listeners changed their minds; and each is found once."""
    hub = hub_of()
    listeners = [hub.join("a", first) for first, _ in wishes]
    for listener, (_, second) in zip(listeners, wishes, strict=True):
        hub.change(listener, second)
    for each in notices:
        hub.tell(each)
    for listener, (_, wants) in zip(listeners, wishes, strict=True):
        expected = [each.kind.value for each in notices if wants.takes(each)]
        assert [told["type"] for told in await heard(listener)] == expected
        hub.leave(listener)
    assert hub.listeners == 0
    assert hub._places == {}


async def test_a_notice_has_its_type_and_its_fields() -> None:
    hub = hub_of()
    listener = hub.join("a", Wants())
    hub.tell(notice(MINTED, tokens_minted=5, transaction_signature="5x"))
    assert await heard(listener) == [
        {"type": "tokens_minted", "tokens_minted": 5, "transaction_signature": "5x"},
    ]


async def test_with_nobody_listening_notices_are_only_counted() -> None:
    hub = hub_of()
    hub.tell(notice())
    hub.tell(notice(REFUSED, error_code="ERR_SIGNATURE_INVALID"))
    assert hub.measures.notices == {RECEIVED: 1, REFUSED: 1}
    assert hub.measures.refusals == {"ERR_SIGNATURE_INVALID": 1}
    assert hub.measures.queued == 0


async def test_one_that_falls_behind_is_let_go_and_the_others_hear_on() -> None:
    hub = hub_of(queue_notices=4)
    slow, quick = hub.join("a", Wants()), hub.join("b", Wants())
    for number in range(5):
        hub.tell(notice(number=number))
        assert len(await heard(quick)) == 1
    assert (await slow.ended()).code == TRY_AGAIN
    hub.tell(notice())
    assert len(await heard(quick)) == 1
    assert hub.measures.slow == 1
    hub.change(slow, Wants(meters=names("m1")))
    hub.leave(slow)
    hub.leave(slow)
    assert hub.listeners == 1


async def test_refusals_do_not_crowd_out_what_happened() -> None:
    hub = hub_of(queue_notices=10)
    listener = hub.join("a", Wants())
    for _ in range(100):
        hub.tell(notice(REFUSED))
    for _ in range(5):
        hub.tell(notice(MINTED))
    kinds = [told["type"] for told in await heard(listener)]
    assert kinds == [REFUSED.value] * 5 + [MINTED.value] * 5
    assert hub.measures.skipped == 95
    assert not listener.has_ended


async def test_listeners_are_bounded_over_all_and_for_each_client() -> None:
    hub = hub_of(listeners=3, listeners_per_client=2)
    first = hub.join("a", Wants())
    hub.join("a", Wants())
    with pytest.raises(Busy) as busy:
        hub.join("a", Wants())
    assert busy.value.code is ErrorCode.OVERLOADED
    hub.join("b", Wants())
    with pytest.raises(Busy):
        hub.join("c", Wants())
    hub.leave(first)
    hub.join("c", Wants())
    assert hub.measures.refused == 2


async def test_stopping_ends_all_and_lets_nobody_in() -> None:
    hub = hub_of()
    listener = hub.join("a", Wants())
    stopping = asyncio.create_task(hub.stop())
    assert (await listener.ended()).code == GOING_AWAY
    assert not stopping.done()
    hub.leave(listener)
    await stopping
    with pytest.raises(Unavailable) as shut:
        hub.join("a", Wants())
    assert shut.value.code is ErrorCode.SHUTTING_DOWN


OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from bridge.hub import Hub
from bridge.notices import Notice, NoticeKind
from bridge.relay import Relay
from config.settings import LiveSettings

async def main():
    relay = Relay(Path(sys.argv[1]))
    hub = Hub(LiveSettings(), relay)
    hub.start()
    while not relay.is_heard:
        hub.tell(Notice(NoticeKind.RECEIVED, {"number": -1}, "w1", "m1"))  # for nobody
        await asyncio.sleep(0.02)
    for number in range(3):
        hub.tell(Notice(NoticeKind.RECEIVED, {"number": number}, "w1", "m1"))
    hub.tell(Notice(NoticeKind.BATCH_DONE, {"total_readings": 3}))
    await hub.stop()

asyncio.run(main())
"""


async def test_notices_of_the_nodes_other_processes_are_heard(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    left_behind = folder / "999999999.notices"
    left_behind.touch()
    hub = Hub(LiveSettings(), Relay(folder))
    hub.start()
    listener = hub.join("a", Wants(meters=names("m1")))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OTHER_PROCESS, str(folder), cwd=Path(__file__).parents[2]
    )
    told: list[Any] = []
    async with asyncio.timeout(30):
        while len(told) < 4:
            told += [orjson.loads(text) for text in await listener.take()]
        assert await process.wait() == 0
    assert [each.get("number") for each in told] == [0, 1, 2, None]
    assert hub.measures.notices == {}
    hub.leave(listener)
    assert list(folder.glob("*.notices")) == []
    await hub.stop()


@pytest.mark.parametrize(
    "packet", [b"", b"nonsense", b"[1]", b'["meter_reading_received",null,3,{}]', b'["x"]' * 9]
)
async def test_what_is_no_notice_is_passed_over(tmp_path: Path, packet: bytes) -> None:
    import socket

    relay = Relay(tmp_path)
    hub = Hub(LiveSettings(), relay)
    hub.start()
    listener = hub.join("a", Wants())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        (inbox,) = tmp_path.glob("*.notices")
        assert inbox.stat().st_mode & 0o777 == 0o600
        sender.sendto(packet, str(inbox))
        sender.sendto(b'["batch_minting_completed",null,null,{"total_readings":1}]', str(inbox))
        async with asyncio.timeout(5):
            assert [orjson.loads(text)["total_readings"] for text in await listener.take()] == [1]
    hub.leave(listener)
    await hub.stop()


async def test_a_path_that_is_too_long_is_told_of_and_stops_nothing(tmp_path: Path) -> None:
    hub = Hub(LiveSettings(), Relay(tmp_path / ("x" * 120)))
    hub.start()
    listener = hub.join("a", Wants())
    hub.tell(notice())
    assert len(await heard(listener)) == 1
    hub.leave(listener)
    await hub.stop()


def test_every_kind_is_among_all() -> None:
    assert frozenset(NoticeKind) == ALL_KINDS
