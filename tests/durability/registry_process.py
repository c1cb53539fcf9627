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
from energytag.models.common import moment_of_ms
from energytag.records import ACTIONS
from energytag.recurring import RECURRING, due, occurrence_id
from lookup.audit import check_partitions
from overlay.invariants import check_invariants
from store.port import Find
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, RegistryNode, readings
from tests.overlay.kit import Chain, Clock

STEP_MS = 6 * 3_600_000


async def opened(folder: Path) -> tuple[RegistryNode, Chain]:
    clock = Clock()
    if (folder / "clock").exists():
        clock.now_ms = int((folder / "clock").read_text())
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
    if not await node.store.count(RECURRING):
        await node.resolved(Kind.RECURRING_TRANSFER, every_hour(node.clock.now_ms))
    while True:
        node.clock.now_ms += STEP_MS
        turn(folder, node.clock.now_ms)
        await due(node.registry.ground, node.registry.act)
        count = number.choice((1, 5, 40))
        hours = readings(hour % 3000, count)
        hour += count
        # What was issued by an action that was never acknowledged is refused here, and that is right.
        jobs = [act(node, Kind.CREATE_MANY, {"device_id": DEVICE, "readings": hours})]
        jobs += [act(node, *move(number)) for _ in range(2)]
        await asyncio.gather(*jobs)


def turn(folder: Path, now_ms: int) -> None:
    """Keep the time: whole, also when this process is killed meanwhile."""
    fresh = folder / "clock.new"
    fresh.write_text(str(now_ms))
    fresh.replace(folder / "clock")


def every_hour(now_ms: int) -> dict[str, Any]:
    """A thousand transfers of a few certificates, one a day; the clock runs by quarters of a day."""
    return {
        "source_account_id": ACCOUNT,
        "target_account_id": OTHER_ACCOUNT,
        "certificate_quantity": 7,
        "initial_transfer_datetime": moment_of_ms(now_ms),
        "recurring_transfer_period_units": "days",
        "recurring_transfer_period_quantity": 1,
        "number_of_recurring_transfers": 1000,
    }


async def occurrences(node: RegistryNode) -> list[str]:
    """What is wrong with the series: each occurrence up to the next must have its action, once."""
    faults: list[str] = []
    for series in (await node.store.find(RECURRING, Find(limit=10))).documents:
        wanted = {occurrence_id(series["_id"], each) for each in range(series["occurrence"])}
        found = await node.store.get_many(ACTIONS, sorted(wanted))
        faults += [f"an occurrence has no action: {each}" for each in wanted - found.keys()]
        if await node.store.get(ACTIONS, occurrence_id(series["_id"], series["occurrence"])):
            faults.append("the next occurrence has happened already")
        runs = [each["_id"] async for page in _actions(node) for each in page if each["kind"] == "recurring_run"]
        if sorted(runs) != sorted(wanted):
            faults.append(f"{len(runs)} occurrences for {len(wanted)}")
    return faults


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
    faults += await check_registry(node.store, node.keyring) + await occurrences(node)
    resolved = [each["_id"] async for page in _actions(node) for each in page if each["state"] == "resolved"]
    series = (await node.store.find(RECURRING, Find(limit=1))).documents
    print(json.dumps({"faults": faults[:20], "resolved": resolved, "occurrences": series[0]["occurrence"]}))
    await node.close()
    await chain.close()


if __name__ == "__main__":
    verb, folder = sys.argv[1], Path(sys.argv[2])
    asyncio.run(check(folder) if verb == "check" else work(folder, int(sys.argv[3])))
