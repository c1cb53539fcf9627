"""The headers service's client against the dev chain's, and against one that lies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from config.errors import Unavailable
from overlay.chain import Header
from overlay.headers_client import HeadersServiceClient
from overlay.sdk import load_sdk

BASE = "/dev/headers/api/v1/chain"


@pytest.fixture
async def source(served: Any) -> AsyncIterator[HeadersServiceClient]:
    client = HeadersServiceClient(served.url + "/dev/headers")
    yield client
    await client.close()


async def test_headers_are_the_chain_s(served: Any, source: HeadersServiceClient) -> None:
    assert await source.tip() == served.chain.tip
    assert await source.range(0, 50) == await served.chain.headers(0, 50)
    assert await source.range(95, 100) == await served.chain.headers(95, 100)
    assert await source.range(served.chain.tip.height + 1, 10) == []
    await served.chain.reorg(3)
    assert await source.tip() == served.chain.tip
    assert await source.range(90, 100) == await served.chain.headers(90, 100)


async def test_the_sdk_reads_them_too(served: Any) -> None:
    client = load_sdk("bsv.headers_client").HeadersClient(served.url + "/dev/headers", "key")
    tip = served.chain.tip
    assert await client.current_height() == tip.height
    assert await client.is_valid_root_for_height(tip.merkle_root[::-1].hex(), tip.height)
    assert not await client.is_valid_root_for_height("00" * 32, tip.height)
    assert not await client.is_valid_root_for_height(tip.merkle_root[::-1].hex(), tip.height + 1)
    roots = await client.get_merkle_roots(5, "99")
    assert [root.block_height for root in roots] == [100, 101]


async def test_the_other_questions(served: Any) -> None:
    stale = served.chain.tip
    await served.chain.reorg(1)
    for path, state in ((stale, "STALE"), (served.chain.tip, "LONGEST_CHAIN")):
        code, body = await served.get(f"{BASE}/header/state/{path.hash[::-1].hex()}")
        assert (code, body["state"], body["height"]) == (200, state, path.height)
        assert (await served.get(f"{BASE}/header/{path.hash[::-1].hex()}"))[1] == body["header"]
    assert len((await served.get(f"{BASE}/tip"))[1]) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/header/byHeight",
        "/header/byHeight?height=x",
        "/header/byHeight?height=99999",
        f"/header/{'00' * 32}",
        "/header/zz",
        f"/header/state/{'00' * 32}",
        "/merkleroot?batchSize=x",
    ],
)
async def test_what_cannot_be_answered(served: Any, path: str) -> None:
    code, body = await served.get(BASE + path)
    assert code == 400
    assert isinstance(body, str)


@pytest.mark.parametrize("body", [[], {}, 1, [{}], [{"merkleRoot": 1, "blockHeight": 1}], [{"merkleRoot": "a"}]])
async def test_roots_that_cannot_be_verified(served: Any, body: Any) -> None:
    assert (await served.post(f"{BASE}/merkleroot/verify", body))[0] == 400


async def _state_of(served: Any, digest: str) -> Any:
    return (await served.get(f"{BASE}/header/state/{digest}"))[1]


async def _state(served: Any, header: Header) -> Any:
    return await _state_of(served, header.hash[::-1].hex())


def change(at: int, **fields: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda items: [item | fields if place == at else item for place, item in enumerate(items)]


LIES: dict[str, Callable[[list[Any]], Any]] = {
    "another root": change(1, merkleRoot="00" * 32),
    "another hash": change(1, hash="00" * 32),
    "another parent": change(2, prevBlockHash="00" * 32),
    "another time": change(0, creationTimestamp=1),
    "a number out of bounds": change(0, nonce=2**40),
    "no nonce": lambda items: [{k: v for k, v in item.items() if k != "nonce"} for item in items],
    "one left out": lambda items: [items[0], items[2]],
    "not a list": lambda items: {"headers": items},
    "not headers": lambda items: ["a", "b"],
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_lies_are_found(served: Any, listen: Any, lie: Callable[[list[Any]], Any]) -> None:
    truth = (await served.get(f"{BASE}/header/byHeight?height=5&count=3"))[1]

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(lie(truth))

    app = web.Application()
    app.router.add_get("/api/v1/chain/header/byHeight", answer)
    async with listen(app) as url:
        client = HeadersServiceClient(url)
        with pytest.raises(Unavailable):
            await client.range(5, 3)
        await client.close()


@pytest.mark.parametrize("depth", [1, 3])
async def test_stale_branches_are_left_out(served: Any, listen: Any, depth: int) -> None:
    """The real service answers with all headers of the heights, as they come."""
    chain = served.chain
    stale = await chain.headers(100 - depth, depth + 2)
    await chain.reorg(depth)
    fresh = await chain.headers(100 - depth, depth + 2)
    states = await asyncio.gather(*[_state(served, header) for header in (*stale, *reversed(fresh))])

    async def by_height(_request: web.Request) -> web.Response:
        unique = {state["header"]["hash"]: state["header"] for state in states}
        return web.json_response(list(unique.values()))

    async def state(request: web.Request) -> web.Response:
        return web.json_response(await _state_of(served, request.match_info["hash"]))

    app = web.Application()
    app.router.add_get("/api/v1/chain/header/byHeight", by_height)
    app.router.add_get("/api/v1/chain/header/state/{hash}", state)
    async with listen(app) as url:
        client = HeadersServiceClient(url)
        assert await client.range(100 - depth, depth + 2) == await chain.headers(100 - depth, depth + 2)
        await client.close()


@pytest.mark.parametrize("status", [500, 503, 429, 401, 302])
async def test_a_service_that_fails(listen: Any, status: int) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with listen(app) as url:
        client = HeadersServiceClient(url)
        for question in (client.tip(), client.range(0, 1)):
            with pytest.raises(Unavailable):
                await question
        await client.close()
