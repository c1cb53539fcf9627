"""A registry in a process of its own, to be killed: it issues, moves and cancels, and tells each action that
was acknowledged on a line of standard output. `check` opens what is left, lets the queue finish, and audits."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from config.settings import Settings
from energytag.actions import Kind, State
from energytag.audit import check_registry
from energytag.records import ACTIONS
from lookup.audit import check_partitions
from overlay.invariants import check_invariants
from store.port import Find
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, RegistryNode, readings
from tests.overlay.kit import Chain, Clock


async def opened(folder: Path) -> tuple[RegistryNode, Chain]:
    clock = Clock()
    chain = Chain(folder, clock)
    await chain.open()
    # Small transactions, so that many actions take several of them.
    settings = Settings.model_validate({"registry": {"bundles_per_transaction": 7}})
    node = RegistryNode(chain, SqliteStore(folder / "node.db", cache_mib=4), clock, settings)
    await node.open()
    return node, chain


async def work(folder: Path, seed: int) -> None:
    node, _ = await opened(folder)
    await node.populate()
    number = random.Random(seed)
    hour = await issued_hours(node)
    while True:
        count = number.choice((1, 5, 40))
        hours = readings(hour % 3000, count)
        hour += count
        # What was issued by an action that was never acknowledged is refused here, and that is right.
        jobs = [act(node, Kind.CREATE_MANY, {"device_id": DEVICE, "readings": hours})]
        jobs += [act(node, *move(number)) for _ in range(2)]
        await asyncio.gather(*jobs)


def move(number: random.Random) -> tuple[Kind, dict[str, Any]]:
    source, target = number.sample((ACCOUNT, OTHER_ACCOUNT), 2)
    request = {"source_account_id": source, "certificate_quantity": number.randint(1, 2500)}
    if number.random() < 0.3:
        return Kind.CANCEL, request
    return Kind.TRANSFER, request | {"target_account_id": target}


async def act(node: RegistryNode, kind: Kind, request: dict[str, Any]) -> None:
    action = (await node.act(kind, request)).action
    if action.state is State.RESOLVED:
        print(json.dumps([action.action_id, action.result]), flush=True)


async def issued_hours(node: RegistryNode) -> int:
    total = 0
    async for documents in _actions(node):
        total += sum(len(json.loads(each["request"]).get("readings", ())) for each in documents)
    return total


async def _actions(node: RegistryNode) -> AsyncIterator[list[dict[str, Any]]]:
    after = None
    while True:
        page = await node.store.find(ACTIONS, Find("seq", limit=500, after=after))
        yield page.documents
        after = page.last
        if after is None:
            return


async def check(folder: Path) -> None:
    node, chain = await opened(folder)
    while await node.store.count(ACTIONS, Find("queued", {"queued": 1})):
        await asyncio.sleep(0.05)
    faults = await check_invariants(node.store) + await check_partitions(node.store)
    faults += await check_registry(node.store, node.keyring)
    resolved = [each["_id"] async for page in _actions(node) for each in page if each["state"] == "resolved"]
    print(json.dumps({"faults": faults[:20], "resolved": resolved}))
    await node.close()
    await chain.close()


if __name__ == "__main__":
    verb, folder = sys.argv[1], Path(sys.argv[2])
    asyncio.run(check(folder) if verb == "check" else work(folder, int(sys.argv[3])))
