"""ARC's client against the dev chain's ARC, and against services that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from config.errors import BadRequest, Unavailable
from overlay.arc import ArcClient
from overlay.builder import Coin
from overlay.chain import TxStatus
from overlay.merkle import Bump
from overlay.transaction import Output
from overlay.wire import to_extended


@pytest.fixture
async def arc(served: Any) -> AsyncIterator[ArcClient]:
    client = ArcClient(served.url + "/dev/arc")
    yield client
    await client.close()


async def test_broadcast_and_mined(served: Any, arc: ArcClient, wallet: Any) -> None:
    (coin,) = await wallet.fund(served.chain)
    transaction = wallet.spend(coin)
    assert await arc.status(transaction.txid) is None
    answer = await arc.broadcast(to_extended(transaction, [coin.output]))
    assert (answer.txid, answer.status) == (transaction.txid, TxStatus.SEEN_ON_NETWORK)
    (header,) = await served.chain.mine()
    mined = await arc.status(transaction.txid)
    assert mined is not None
    assert (mined.status, mined.block_height) == (TxStatus.MINED, header.height)
    assert mined.merkle_path is not None
    assert Bump.parse_whole(mined.merkle_path).root_for(transaction.txid) == header.merkle_root


async def test_refusals_are_answers(served: Any, arc: ArcClient, wallet: Any) -> None:
    (coin,) = await wallet.fund(served.chain)
    poor = await arc.broadcast(to_extended(wallet.spend(coin, 10_000), [coin.output]))
    assert poor.status is TxStatus.REJECTED
    assert poor.status.refused
    assert poor.detail.startswith("ARC 465: Fee too low")


async def test_double_spends_name_the_other_side(served: Any, arc: ArcClient, wallet: Any) -> None:
    (coin,) = await wallet.fund(served.chain)
    first, second = wallet.spend(coin), wallet.spend(coin, 5_000)
    await arc.broadcast(to_extended(first, [coin.output]))
    for _ in range(2):
        answer = await arc.broadcast(to_extended(second, [coin.output]))
        assert answer.status is TxStatus.DOUBLE_SPEND_ATTEMPTED
        assert answer.competing_txids == (first.txid_hex,)
        await served.chain.mine()


async def test_orphans_are_not_refused(served: Any, arc: ArcClient, wallet: Any) -> None:
    stray = wallet.spend(Coin(b"\x66" * 32, 0, Output(10_000, wallet.lock)))
    answer = await arc.broadcast(to_extended(stray, [Output(10_000, wallet.lock)]))
    assert answer.status is TxStatus.SEEN_IN_ORPHAN_MEMPOOL
    assert not answer.status.refused
    known = await arc.status(stray.txid)
    assert known is not None
    assert known.status is answer.status


async def test_only_extended_format_is_broadcast(arc: ArcClient) -> None:
    with pytest.raises(BadRequest):
        await arc.broadcast(b"\x01\x00\x00\x00")


TXID = "11" * 32
SILENT: dict[str, Any] = {
    "500": web.Response(status=500),
    "503 with JSON": web.json_response({"title": "down"}, status=503),
    "429": web.Response(status=429),
    "401": web.json_response({"status": 401}, status=401),
    "409": web.json_response({"status": 409, "title": "Generic error"}, status=409),
    "404 for the route": web.json_response({}, status=404),
    "a redirect": web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}),
    "not JSON": web.Response(text="<html>"),
    "an array": web.json_response([]),
    "another transaction": web.json_response({"txid": TXID, "txStatus": "SEEN_ON_NETWORK"}),
    "no txid": web.json_response({"txStatus": "SEEN_ON_NETWORK"}),
    "a path that is not hex": web.json_response({"txid": TXID, "txStatus": "MINED", "merklePath": "xy"}),
    "too much": web.Response(body=b"1" * (16 * 1024 * 1024 + 1)),
}


@pytest.mark.parametrize("reply", SILENT.values(), ids=SILENT.keys())
async def test_whatever_is_no_judgement_is_unavailable(listen: Any, wallet: Any, reply: web.Response) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=reply.body, status=reply.status, headers=reply.headers)

    coin = Coin(b"\x66" * 32, 0, Output(10_000, wallet.lock))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with listen(app) as url:
        client = ArcClient(url, timeout_secs=5)
        try:
            with pytest.raises(Unavailable):
                await client.broadcast(to_extended(wallet.spend(coin), [coin.output]))
        finally:
            await client.close()


async def test_nobody_there_and_too_slow(listen: Any) -> None:
    async def sleep(_request: web.Request) -> web.Response:
        await asyncio.sleep(2)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", sleep)
    async with listen(app) as url:
        for target in (url, "http://127.0.0.1:1"):
            client = ArcClient(target, timeout_secs=0.1)
            with pytest.raises(Unavailable):
                await client.status(b"\x11" * 32)
            await client.close()


async def test_what_goes_out(listen: Any, wallet: Any) -> None:
    """The headers ARC knows, and statuses that this node does not know yet."""
    seen: list[Any] = []
    coin = Coin(b"\x66" * 32, 0, Output(10_000, wallet.lock))
    transaction = wallet.spend(coin)

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.headers, await request.json()))
        return web.json_response({"status": 200, "txid": transaction.txid_hex, "txStatus": "BRAND_NEW"})

    app = web.Application()
    app.router.add_post("/v1/tx", answer)
    async with listen(app) as url:
        client = ArcClient(url + "/", "key", "https://node.example/arc-ingest", "token")
        extended = to_extended(transaction, [coin.output])
        assert (await client.broadcast(extended)).status is TxStatus.UNKNOWN
        await client.close()
    ((headers, body),) = seen
    assert headers["Authorization"] == "Bearer key"
    assert headers["X-CallbackUrl"] == "https://node.example/arc-ingest"
    assert headers["X-CallbackToken"] == "token"
    assert body == {"rawTx": extended.hex()}
