"""Withdrawal notices and double issuance: what is laid over the records, in whatever order it arrived."""

from __future__ import annotations

from typing import Any

from certificates import successor
from certificates.ranges import Range


async def test_a_notice_withdraws_what_it_touches(node: Any) -> None:
    whole, kept = await node.issue(), await node.issue()
    parts = await node.replace([whole], successor.split(node.tokens[whole], [300, 700], [node.key(), node.key()]))
    notice = await node.notice(whole, Range(301, 400))
    assert await node.find(status="Withdrawn") == [parts[1]]
    assert set(await node.find(status="Active")) == {kept, parts[0]}
    assert set(await node.find()) == {kept, *parts}
    told = (await node.contexts())[parts[1]]
    txid = notice[31::-1].hex()
    assert told == {
        "status": "Withdrawn",
        "withdrawn": [{"start": 301, "end": 400, "reason": "meter fault", "notice": f"{txid}.0"}],
    }


async def test_a_notice_may_come_before_the_coin(node: Any) -> None:
    """And stays in force when the coin moves on, is cancelled, or is lost."""
    token = node.tokens[await node.issue()]
    first, early = node.events.pop(), await node.documents()
    await node.remove(next(iter(node.tokens)), evicted=True)
    node.held.clear()
    await node.notice(token, Range(1, 1000))
    assert await node.find(status="Withdrawn") == []
    await node.apply(first)
    (coin,) = node.tokens
    node.held[coin] = [event.ref.topic for event in first]
    assert await node.find(status="Withdrawn") == [coin]
    assert len((await node.documents())["metawatt_certificates"]) == len(early["metawatt_certificates"])
    (cancelled,) = await node.replace([coin], [successor.cancel(token, "ACME", node.key())])
    assert await node.find(status="Withdrawn") == [cancelled]
    assert await node.find(status=["Cancelled", "Active"]) == []
    await node.lose(cancelled)
    assert await node.find(status="Withdrawn") == [cancelled]
    assert await node.find(status="lost") == []


async def test_another_issuer_cannot_withdraw(node: Any) -> None:
    coin = await node.issue()
    notice = await node.notice(coin, Range(1, 1000), node.other_issuer)
    assert notice in node.held
    assert await node.find(status="Withdrawn") == []
    assert await node.find(status="Active") == [coin]


async def test_an_evicted_notice_is_void(node: Any) -> None:
    coin = await node.issue()
    notice = await node.notice(coin, Range(5, 5))
    assert await node.find(status="Active") == []
    await node.remove(notice, evicted=True)
    assert await node.find(status="Active") == [coin]


async def test_a_spent_notice_stays_in_force(node: Any) -> None:
    coin = await node.issue()
    notice = await node.notice(coin, Range(5, 5))
    await node.lose(notice)
    assert await node.find(status="Withdrawn") == [coin]


async def test_double_issuance_marks_all_records(node: Any) -> None:
    device = node.device_id()
    one, two = await node.issue(device_id=device), await node.issue(device_id=device)
    other = await node.issue(
        device_id=device,
        production_starting_interval="2026-06-01T11:00:00Z",
        production_ending_interval="2026-06-01T12:00:00Z",
    )
    ids = {coin: node.tokens[coin].issuance_id for coin in (one, two, other)}
    assert await node.contexts() == {one: {"doubles": [ids[two]]}, two: {"doubles": [ids[one]]}, other: None}
    (moved,) = await node.replace([one], [successor.transfer(node.tokens[one], node.key())])
    assert (await node.contexts())[moved] == {"doubles": [ids[two]]}
    assert (await node.ranges(one))["doubles"] == [ids[two]]
    assert (await node.ranges(other))["doubles"] == []


async def test_two_issuances_of_one_commit_find_each_other(node: Any) -> None:
    device = {"device_id": node.device_id()}
    coins = await node.issue_many([device, device, device])
    ids = [node.tokens[coin].issuance_id for coin in coins]
    contexts = await node.contexts()
    assert [contexts[coin]["doubles"] for coin in coins] == [sorted({*ids} - {each}) for each in ids]


async def test_marks_follow_evictions(node: Any) -> None:
    """The first of two is evicted and comes back: both are marked again."""
    device = node.device_id()
    one, two = await node.issue(device_id=device), await node.issue(device_id=device)
    again = node.events[0]
    await node.remove(one, evicted=True)
    assert await node.contexts() == {two: None}
    await node.apply(again)
    contexts = await node.contexts()
    assert contexts[one]["doubles"] == [node.tokens[two].issuance_id]
    assert contexts[two]["doubles"] == [node.tokens[one].issuance_id]


async def test_overlapping_intervals_are_doubles_of_an_issuance(node: Any) -> None:
    """Differently cut intervals are not marked, but the partition of the issuance tells of them."""
    device = node.device_id()
    hour = await node.issue(device_id=device)
    quarter = await node.issue(
        Range(1, 100),
        device_id=device,
        production_starting_interval="2026-06-01T10:45:00Z",
        production_ending_interval="2026-06-01T11:00:00Z",
    )
    assert (await node.ranges(hour))["doubles"] == [node.tokens[quarter].issuance_id]
    assert (await node.ranges(quarter))["doubles"] == [node.tokens[hour].issuance_id]
