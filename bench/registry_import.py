"""`metawatt import` of two years of hourly generation of ten devices: 175,200 bundles.

    python -m bench.registry_import

The command hands in readings and has certificates issued of them, over HTTP, to a node on the dev network; the time
is that of the whole command, its start and the registration of the devices included.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp

from bench.registry import Client, moment
from bench.servers import registry_node

DEVICES = 10
HOURS = 24 * 365 * 2


def write_generation(folder: Path) -> tuple[Path, Path]:
    """The readings as CSV, and the devices as JSON."""
    names = [f"Wind {number}" for number in range(DEVICES)]
    file = folder / "generation.csv"
    with file.open("w") as rows:
        rows.write("device,start,energy_wh\n")
        for name in names:
            rows.writelines(f"{name},{moment(hour)},{900_000 + hour % 977}\n" for hour in range(HOURS))
    devices = folder / "devices.json"
    devices.write_text(json.dumps([device(name) for name in names]))
    return file, devices


def device(name: str) -> dict[str, Any]:
    return {
        "device_name": name,
        "energy_source": "wind",
        "technology_type": "wind_turbine",
        "capacity": 1_500_000,
        "peak_demand": 0,
        "grid": "10YDK-1--------W",
        "operational_date": "2005-04-01",
        "location": [56.5, 9.1],
        "country": "DK",
        "zone": "DK1",
    }


async def account_of(url_of: Any, token: str) -> str:
    async with aiohttp.ClientSession() as session:
        client = Client(url_of, token, session)
        body = {"name": "Bench", "business_id": 1, "primary_contact": "a@example.org"}
        organisation = await client.ask("POST", "/organisations", body)
        account = {"account_name": "Bench", "organisation_id": organisation["organisation_id"]}
        return str((await client.ask("POST", "/accounts", account))["account_id"])


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="metawatt-bench-") as folder:
        file, devices = write_generation(Path(folder))
        data = Path(folder) / "data"
        with registry_node(data) as server:
            token_file = data / "admin.token"
            account_id = asyncio.run(account_of(server, token_file.read_text().strip()))
            command = [sys.executable, "-c", "from cli.main import main; main()", "import", str(file)]
            command += ["--account", account_id, "--create-devices", str(devices)]
            command += ["--url", server.url, "--token-file", str(token_file)]
            for what in ("imported", "repeated"):
                began = perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                secs = perf_counter() - began
                count = DEVICES * HOURS
                print(f"{what}: {count:,} readings in {secs:.0f} s, {count / secs:,.0f}/s", flush=True)
            print(f"the node then had {server.resident_mib:.0f} MiB resident")


if __name__ == "__main__":
    main()
