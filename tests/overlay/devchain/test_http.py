"""The dev chain's own routes, ARC's in every shape, and callbacks, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from api.devchain import DevChainHandler
from api.limits import Bodies
from overlay.builder import Coin
from overlay.devchain import Callback
from overlay.envelope import parse_envelope
from overlay.merkle import Bump
from overlay.transaction import Output
from overlay.wire import to_extended

ARC = "/dev/arc/v1"


async def test_faucet_mine_and_reorg(served: Any, wallet: Any) -> None:
    height = served.chain.tip.height
    code, paid = await served.post("/dev/faucet", {"lockingScript": wallet.lock.hex(), "satoshis": 500, "count": 3})
    assert (code, paid["vouts"]) == (200, [0, 1, 2])
    assert parse_envelope(bytes.fromhex(paid["beef"])).subject.txid_hex == paid["txid"]
    code, mined = await served.post("/dev/mine", {"blocks": 2})
    assert (code, mined["height"], len(mined["hashes"])) == (200, height + 3, 2)
    code, replaced = await served.post("/dev/reorg", {"depth": 3})
    assert (code, replaced["forkHeight"], replaced["height"]) == (200, height, height + 4)
    assert replaced["returned"] == [paid["txid"]]


WRONG: dict[str, tuple[str, Any]] = {
    "no script": ("/dev/faucet", {"satoshis": 5}),
    "a script that is not hex": ("/dev/faucet", {"lockingScript": "xy", "satoshis": 5}),
    "half a byte": ("/dev/faucet", {"lockingScript": "515", "satoshis": 5}),
    "no satoshis": ("/dev/faucet", {"lockingScript": "51"}),
    "a fraction": ("/dev/faucet", {"lockingScript": "51", "satoshis": 1.5}),
    "too many": ("/dev/faucet", {"lockingScript": "51", "satoshis": 5, "count": 1001}),
    "blocks in words": ("/dev/mine", {"blocks": "two"}),
    "blocks by truth": ("/dev/mine", {"blocks": True}),
    "no depth": ("/dev/reorg", {}),
    "too deep": ("/dev/reorg", {"depth": 500}),
    "drop in words": ("/dev/reorg", {"depth": 1, "drop": "yes"}),
    "not an object": ("/dev/mine", [1]),
}


@pytest.mark.parametrize(("path", "body"), WRONG.values(), ids=WRONG.keys())
async def test_wrong_input_changes_nothing(served: Any, path: str, body: Any) -> None:
    tip = served.chain.tip
    code, answer = await served.post(path, body)
    assert (code, answer["status"]) == (400, "error")
    assert served.chain.tip == tip


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("media", ["application/json", "text/plain", "application/octet-stream"])
async def test_arc_takes_every_form(served: Any, wallet: Any, media: str, extended: bool) -> None:
    (coin,) = await wallet.fund(served.chain)
    transaction = wallet.spend(coin)
    data = to_extended(transaction, [coin.output]) if extended else transaction.raw
    bodies: dict[str, Any] = {
        "application/json": f'{{"rawTx": "{data.hex()}"}}'.encode(),
        "text/plain": data.hex().encode() + b"\n",
        "application/octet-stream": data,
    }
    async with served.session.post(
        served.url + ARC + "/tx", data=bodies[media], headers={"Content-Type": media}
    ) as reply:
        body = await reply.json()
        assert (reply.status, body["status"], body["title"]) == (200, 200, "OK")
    assert (body["txid"], body["txStatus"]) == (transaction.txid_hex, "SEEN_ON_NETWORK")
    assert (body["blockHash"], body["blockHeight"], body["merklePath"]) == ("", 0, "")
    await served.chain.mine()
    code, mined = await served.get(f"{ARC}/tx/{transaction.txid_hex}")
    assert (code, mined["txStatus"], mined["blockHeight"]) == (200, "MINED", served.chain.tip.height)
    assert mined["blockHash"] == served.chain.tip.hash[::-1].hex()


async def test_arc_s_errors(served: Any, wallet: Any) -> None:
    (coin,) = await wallet.fund(served.chain)
    cases = [
        (400, {"rawTx": "zz"}),
        (400, {"raw": "00"}),
        (463, {"rawTx": "00"}),
        (460, {"rawTx": wallet.spend(Coin(b"\x77" * 32, 0, Output(10_000, wallet.lock))).raw.hex()}),
        (465, {"rawTx": wallet.spend(coin, 10_000).raw.hex()}),
    ]
    for status, body in cases:
        code, problem = await served.post(ARC + "/tx", body)
        assert (code, problem["status"]) == (status, status)
        assert problem["type"].endswith(f"_{status}")
        assert problem["title"]
        assert problem["detail"]
    assert (await served.get(f"{ARC}/tx/{'00' * 32}"))[0] == 404
    assert (await served.get(f"{ARC}/tx/zz"))[0] == 404


async def test_arc_takes_batches(served: Any, wallet: Any) -> None:
    coins = await wallet.fund(served.chain, 2)
    good, poor = wallet.spend(coins[0]), wallet.spend(coins[1], 10_000)
    code, answers = await served.post(ARC + "/txs", [{"rawTx": t.raw.hex()} for t in (good, poor)])
    assert (code, [answer["status"] for answer in answers]) == (200, [200, 465])
    assert answers[1]["txid"] == poor.txid_hex
    lines = "\n".join(t.raw.hex() for t in (good, poor))
    async with served.session.post(served.url + ARC + "/txs", data=lines) as reply:
        assert [answer["status"] for answer in await reply.json()] == [200, 465]
    for wrong in ([], {}, [1], [{"rawTx": "z"}]):
        assert (await served.post(ARC + "/txs", wrong))[0] == 400


async def test_policy_and_health(served: Any) -> None:
    code, policy = await served.get(ARC + "/policy")
    assert (code, policy["policy"]["miningFee"]) == (200, {"satoshis": 1, "bytes": 1000})
    assert (await served.get(ARC + "/health"))[1]["healthy"] is True


class Listener:
    """Takes callbacks, after refusing the first few."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.app = web.Application()
        self.app.router.add_post("/callback", self._hear)

    async def _hear(self, request: web.Request) -> web.Response:
        if self.refusals:
            self.refusals -= 1
            return web.Response(status=503)
        self.heard.put_nowait((request.headers.get("Authorization", ""), await request.json()))
        return web.json_response({})

    async def next(self) -> tuple[str, Any]:
        async with asyncio.timeout(10):
            return await self.heard.get()


async def submit(served: Any, wallet: Any, headers: dict[str, str]) -> tuple[int, Any, bytes]:
    (coin,) = await wallet.fund(served.chain)
    transaction = wallet.spend(coin)
    async with served.session.post(
        served.url + ARC + "/tx", json={"rawTx": transaction.raw.hex()}, headers=headers
    ) as reply:
        return reply.status, await reply.json(), transaction.txid


@pytest.mark.parametrize("refusals", [0, 2])
async def test_a_callback_brings_the_proof(served: Any, wallet: Any, listen: Any, refusals: int) -> None:
    listener = Listener(refusals)
    async with listen(listener.app) as url:
        headers = {"X-CallbackUrl": url + "/callback", "X-CallbackToken": "secret"}
        code, _, txid = await submit(served, wallet, headers)
        assert code == 200
        (header,) = await served.chain.mine()
        token, told = await listener.next()
    assert token == "Bearer secret"
    assert (told["txid"], told["txStatus"]) == (txid[::-1].hex(), "MINED")
    assert (told["blockHeight"], told["blockHash"]) == (header.height, header.hash[::-1].hex())
    assert Bump.parse_whole(bytes.fromhex(told["merklePath"])).root_for(txid) == header.merkle_root
    assert listener.heard.empty()


async def test_full_status_updates(served: Any, wallet: Any, listen: Any) -> None:
    listener = Listener()
    async with listen(listener.app) as url:
        await submit(served, wallet, {"X-CallbackUrl": url + "/callback", "X-FullStatusUpdates": "true"})
        assert (await listener.next())[1]["txStatus"] == "SEEN_ON_NETWORK"
        await served.chain.mine()
        assert (await listener.next())[1]["txStatus"] == "MINED"
        await served.chain.reorg(1, drop=True)
        assert (await listener.next())[1]["txStatus"] == "MINED_IN_STALE_BLOCK"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "http://10.0.0.1/x",
        "http://example.com/x",
        "http://127.0.0.1.example.com/x",
        "http://user@example.com/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://",
        "http://127.0.0.1/" + "x" * 3000,
        "http://[::1",
    ],
)
async def test_callbacks_stay_on_this_machine(served: Any, wallet: Any, url: str) -> None:
    code, problem, _ = await submit(served, wallet, {"X-CallbackUrl": url})
    assert (code, problem["status"]) == (400, 400)
    assert served.chain.pool_size == 0


async def test_callbacks_that_are_due_survive_a_restart(restarting: Any, wallet: Any, listen: Any) -> None:
    listener = Listener()
    async with listen(listener.app) as url:
        async with restarting() as chain:
            (coin,) = await wallet.fund(chain)
            chain._callbacks.put = lambda *_: None
            await chain.submit(wallet.spend(coin).raw, Callback(url + "/callback"))
            await chain.mine()
        async with restarting():
            assert (await listener.next())[1]["txStatus"] == "MINED"
        async with restarting():
            await asyncio.sleep(0.05)
    assert listener.heard.empty()


async def test_every_route_has_its_own_name(served: Any) -> None:
    routes = DevChainHandler(served.chain, Bodies(1, 1, 1)).routes()
    assert len({route.operation for route in routes}) == len(routes) == 15
