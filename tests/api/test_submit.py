"""`POST /submit` over a socket, and the taking apart of its header and body."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.submit import parse_topics, split_body
from config.errors import BadRequest, ErrorCode
from overlay.varint import write_varint

GC = "tm_metawatt_gc"


@pytest.mark.parametrize(
    ("header", "topics"),
    [
        ('["tm_a"]', ("tm_a",)),
        ('["tm_a","tm_b"]', ("tm_a", "tm_b")),
        (' [ "tm_a" , " tm_b " ] ', ("tm_a", "tm_b")),
        ('["tm_a","tm_b","tm_a"]', ("tm_a", "tm_b")),
        ("[]", ()),
        ("tm_a", ("tm_a",)),
        ("tm_a,tm_b", ("tm_a", "tm_b")),
        (" tm_a , tm_b ,tm_a", ("tm_a", "tm_b")),
    ],
)
def test_both_forms_of_the_topics_header(header: str, topics: tuple[str, ...]) -> None:
    assert parse_topics(header) == topics


@pytest.mark.parametrize("header", ["", " ", ",", "tm_a,", '["tm_a"', "[1]", '["tm_a",null]', '[""]', '[["tm_a"]]'])
def test_headers_that_name_no_topics(header: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_topics(header)
    assert refused.value.code is ErrorCode.BAD_TOPICS_HEADER


@given(st.binary(min_size=1, max_size=600), st.binary(max_size=40))
def test_off_chain_values_come_after_the_beef(beef: bytes, values: bytes) -> None:
    assert split_body(write_varint(len(beef)) + beef + values, "true") == (beef, values)
    assert split_body(beef, None) == (beef, None)
    assert split_body(beef, "True") == (beef, None)


@pytest.mark.parametrize("body", [b"\x05abcd", b"\xfd", b"\xff\xff\xff\xff\xff\xff\xff\xff\xffabc"])
def test_a_length_that_exceeds_the_body(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        split_body(body, "true")
    assert refused.value.code is ErrorCode.ENVELOPE_MALFORMED


async def test_a_certificate_is_admitted_and_a_repeat_is_answered_alike(running: Any) -> None:
    certificate = await running.certificate()
    first = await running.submit(certificate.beef)
    assert first.status == 200
    assert first.json() == {GC: {"outputsToAdmit": [0], "coinsToRetain": [], "coinsRemoved": []}}
    assert (await running.submit(certificate.beef, topics=GC)).json() == first.json()


async def test_off_chain_values_travel_beside_the_beef(running: Any) -> None:
    certificate = await running.certificate()
    body = write_varint(len(certificate.beef)) + certificate.beef + b"beside"
    reply = await running.submit(body, x_includes_off_chain_values="true")
    assert reply.json()[GC]["outputsToAdmit"] == [0]


async def test_no_topics_is_an_empty_steak(running: Any) -> None:
    certificate = await running.certificate()
    reply = await running.submit(certificate.beef, topics="[]")
    assert (reply.status, reply.json()) == (200, {})


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "message"),
    [
        (b"x", {}, 400, "ERR_BAD_TOPICS_HEADER", "Missing x-topics header"),
        (b"", {"x-topics": GC}, 400, "ERR_MISSING_BODY", "Missing or empty BEEF body"),
        (
            b"x",
            {"x-topics": "tm_other"},
            400,
            "ERR_TOPIC_UNKNOWN",
            "This server does not support this topic: tm_other",
        ),
        (b"x", {"x-topics": "["}, 400, "ERR_BAD_TOPICS_HEADER", "x-topics must be a JSON array of strings"),
        (b"\x00" * 8, {"x-topics": GC}, 400, "ERR_ENVELOPE_MALFORMED", None),
        (b"x", {"x-topics": GC, "Content-Type": "text/plain"}, 415, "ERR_UNSUPPORTED_MEDIA_TYPE", None),
        (
            b"x",
            {"x-topics": ",".join(f"tm_{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(33))},
            400,
            "ERR_BAD_TOPICS_HEADER",
            "A submission may name 32 topics at most",
        ),
    ],
)
async def test_refusals(
    running: Any, body: bytes, headers: dict[str, str], status: int, code: str, message: str | None
) -> None:
    sent = {"Content-Type": "application/octet-stream", **headers}
    reply = await running.ask("POST", "/submit", data=body, headers=sent)
    assert reply.status == status
    told = reply.json()
    assert (told["status"], told["code"]) == ("error", code)
    if message is not None:
        assert told["message"] == message


async def test_a_topic_that_raises_is_told_apart_from_one_that_is_not_concerned(running: Any, held: Any) -> None:
    async def judge(_submission: Any) -> Any:
        raise RuntimeError("out of order")

    held.judge = judge
    running.node.engine.topic_managers[held.name] = held
    certificate = await running.certificate()
    steak = (await running.submit(certificate.beef, topics=f"{GC},{held.name}")).json()
    assert steak[GC]["outputsToAdmit"] == [0]
    assert steak[held.name]["outputsToAdmit"] == []
    assert "out of order" in steak[held.name]["error"]


async def test_more_submissions_than_may_wait_are_told_to_come_back(launch: Any, held: Any) -> None:
    running = await launch(limits={"concurrent_submissions": 1, "waiting_submissions": 1})
    running.node.engine.topic_managers[held.name] = held
    certificates = await running.certificates(3)
    first = asyncio.create_task(running.submit(certificates[0].beef, topics=held.name))
    while not held.judging:
        await asyncio.sleep(0.01)
    second = asyncio.create_task(running.submit(certificates[1].beef, topics=held.name))
    while 'metawatt_http_waiting{gate="submissions"} 1.0' not in (await running.get("/metrics")).body.decode():
        await asyncio.sleep(0.01)
    refused = await running.submit(certificates[2].beef, topics=held.name)
    assert (refused.status, refused.json()["code"]) == (429, "ERR_OVERLOADED")
    assert int(refused.headers["Retry-After"]) >= 1
    held.release.set()
    assert [(await task).status for task in (first, second)] == [200, 200]


async def test_a_client_that_leaves_does_not_stop_its_submission(running: Any, held: Any) -> None:
    running.node.engine.topic_managers[held.name] = held
    certificate = await running.certificate()
    leaving = asyncio.create_task(running.submit(certificate.beef, topics=held.name))
    while not held.judging:
        await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    held.release.set()
    again = await running.submit(certificate.beef, topics=held.name)
    assert again.json()[held.name]["outputsToAdmit"] == [0, 1]
    assert held.judging == 1


async def test_fifty_identical_submissions_at_once_are_one(running: Any) -> None:
    certificate = await running.certificate()
    replies = await asyncio.gather(*(running.submit(certificate.beef) for _ in range(50)))
    assert {orjson.dumps(reply.json()) for reply in replies} == {
        orjson.dumps({GC: {"outputsToAdmit": [0], "coinsToRetain": [], "coinsRemoved": []}})
    }
