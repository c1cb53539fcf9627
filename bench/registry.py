"""The registry end to end: bundles issued over HTTP, then found again with their proofs.

    python -m bench.registry                         10,000 bundles, then 100,000
    python -m bench.registry --bundles 1000000       the growth figures (10 to 15 minutes)

A node of its own on the dev network, on the loopback: every request is validated and stored as an action, every
bundle signed, put on chain in batches, admitted by four topics, indexed and durable before the reply. Readings
of a device are handed in a thousand at a time (about six weeks of hours), several devices at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp

from bench.servers import Server, registry_node

START = datetime(2006, 1, 1, tzinfo=UTC)
A_REQUEST = 1000
AT_ONCE = 4
DEVICES = 20
QUERIES = 30


class Client:
    """A client with the administrator's token."""

    def __init__(self, server: Server, token: str, session: aiohttp.ClientSession) -> None:
        self._url = server.url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session = session

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        async with self._session.request(method, self._url + path, json=body, headers=self._headers) as reply:
            text = await reply.text()
            if reply.status >= 300:
                raise SystemExit(f"{method} {path}: {reply.status} {text[:500]}")
            return json.loads(text)

    async def register(self) -> tuple[str, str, list[str]]:
        """A user, an account, and devices of that account."""
        organisation = await self.ask(
            "POST", "/organisations", {"name": "Bench", "business_id": 1, "primary_contact": "a@example.org"}
        )
        common = {"organisation_id": organisation["organisation_id"]}
        user = await self.ask(
            "POST",
            "/users",
            {"name": "Bench", "primary_contact": "a@example.org", "role": ["GC Issuer"], **common},
        )
        account = await self.ask("POST", "/accounts", {"account_name": "Bench", **common})
        devices = [await self._device(account["account_id"], number) for number in range(DEVICES)]
        return user["user_id"], account["account_id"], devices

    async def _device(self, account_id: str, number: int) -> str:
        source, technology = ("solar_pv", "solar_pv") if number % 2 else ("wind", "wind_turbine")
        device = {
            "device_name": f"Plant {number}",
            "account_id": account_id,
            "grid": "10YNL----------L",
            "energy_source": source,
            "technology_type": technology,
            "operational_date": "2005-06-01",
            "capacity": 2_000_000,
            "peak_demand": 0,
            "country": ("NL", "DE", "DK")[number % 3],
            "zone": ("NL", "DE-LU", "DK1")[number % 3],
            "location": [52.0, 5.0 + number / 10],
        }
        return str((await self.ask("POST", "/devices", device))["device_id"])

    async def issue(self, device_id: str, first_hour: int, count: int) -> None:
        readings = [
            {"start": moment(hour), "end": moment(hour + 1), "energy_wh": 1_000_000 + hour % 977}
            for hour in range(first_hour, first_hour + count)
        ]
        action = await self.ask("POST", "/certificates/create_many", {"device_id": device_id, "readings": readings})
        while action["action_state"] not in ("resolved", "rejected"):
            await asyncio.sleep(0.02)
            action = await self.ask("GET", f"/actions/{action['action_id']}")
        if action["action_state"] == "rejected":
            raise SystemExit(f"an issuance was rejected: {action}")


def moment(hour: int) -> str:
    return (START + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ")


async def issue_until(client: Client, devices: list[str], done: int, wanted: int) -> float:
    """Issue from `done` to `wanted` bundles; how many a second."""
    jobs = iter(range(done // A_REQUEST, wanted // A_REQUEST))

    async def work() -> None:
        for job in jobs:
            await client.issue(devices[job % DEVICES], job // DEVICES * A_REQUEST, A_REQUEST)

    began = perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return (wanted - done) / (perf_counter() - began)


async def query(client: Client, user_id: str, account_id: str, **filters: Any) -> tuple[list[float], int]:
    """Times of a query of 1,000 bundles, in ms, sorted, and the bytes of an answer's JSON."""
    body = {"source_user_id": user_id, "source_account_id": account_id, "limit": 1000, **filters}
    times, size = [], 0
    for _ in range(QUERIES):
        began = perf_counter()
        answer = await client.ask("POST", "/certificates/query", body)
        times.append((perf_counter() - began) * 1000)
        bundles = answer["filtered_certificate_bundles"]
        assert len(bundles) == 1000, len(bundles)
        assert all(bundle["timestamp_proof"]["status"] == "proven" for bundle in bundles)
        size = len(json.dumps(answer))
    return sorted(times), size


async def tell_queries(client: Client, user_id: str, account_id: str, device_id: str, bundles: int) -> None:
    questions = {
        "one device": {"device_id": device_id},
        "period and source": {
            "energy_source": ["wind"],
            "certificate_period_start": moment(0),
            "certificate_period_end": moment(240 if bundles >= 100_000 else 1000),
        },
    }
    for name, filters in questions.items():
        times, size = await query(client, user_id, account_id, **filters)
        middle, late = times[len(times) // 2], times[-2]
        print(f"| {bundles:,} | query: {name} | {middle:.0f} | {late:.0f} | {size // 1024:,} KiB |", flush=True)


async def run(bundles: int, folder: Path) -> None:
    with registry_node(folder) as server:
        token = (folder / "admin.token").read_text().strip()
        async with aiohttp.ClientSession() as session:
            client = Client(server, token, session)
            user_id, account_id, devices = await client.register()
            done = 0
            print("| bundles stored | what | median ms, or bundles/s | late ms | size |")
            print("| --- | --- | --- | --- | --- |")
            for wanted in sizes(bundles):
                cpu = server.cpu_secs
                rate = await issue_until(client, devices, done, wanted)
                spent_us = (server.cpu_secs - cpu) / (wanted - done) * 1e6
                print(
                    f"| {wanted:,} | issued: {spent_us:.0f} µs CPU each | {rate:,.0f}/s | "
                    f"| {server.resident_mib:.0f} MiB resident |",
                    flush=True,
                )
                done = wanted
                if done in (10_000, 100_000, 1_000_000):
                    await client.ask("POST", "/dev/mine", {"blocks": 1})
                    await prove_all(client)
                    await tell_queries(client, user_id, account_id, devices[0], done)


async def prove_all(client: Client) -> None:
    """Wait until the node has the proofs of the block."""
    while True:
        stats = await client.ask("GET", "/admin/stats")
        if stats["data"]["engine"]["unproven"] == 0:
            return
        await client.ask("POST", "/dev/mine", {"blocks": 1})
        await asyncio.sleep(1)


def sizes(bundles: int) -> list[int]:
    """Where figures are taken: at powers of ten. The rate at 10,000 is that of the 20,000 bundles after them, by
    when blocks were mined and proofs came in; at 100,000 and 1,000,000 that of the 20,000 before."""
    steps = {10_000, bundles} | ({30_000} if bundles >= 30_000 else set())
    for size in (100_000, 1_000_000):
        if size <= bundles:
            steps |= {size - 20_000, size}
    return sorted(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundles", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="metawatt-bench-") as folder:
        asyncio.run(run(options.bundles, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
