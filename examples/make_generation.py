"""Make example data: hourly generation of a few devices, the same at every run.

    .venv/bin/python examples/make_generation.py [--devices 3] [--months 12] [--first 2025-01] [FOLDER]

Writes `generation-<first>.csv.gz` (device, start, energy_wh; one line an hour, UTC) and `devices.json`, which
describes the devices for `metawatt import --create-devices`. The numbers are made up from the course of the
sun, and from slow and quick weather; no reading is of a real plant.
"""

import argparse
import gzip
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import cos, pi, sin
from pathlib import Path
from random import Random

PLANTS = (
    ("solar_pv", "solar_pv", "Sunny Fields", 48.1, 11.6, "DE", "DE-LU", "10YDE-EON------1"),
    ("wind", "wind_turbine", "North Ridge", 56.5, 9.0, "DK", "DK1", "10YDK-1--------W"),
    ("hydro", "hydro", "Mill Weir", 45.2, 5.7, "FR", "FR", "10YFR-RTE------C"),
)
CAPACITY_W = (75_000, 3_200_000, 900_000)


def devices(count: int) -> list[dict]:
    """What the registry is told of each device."""
    listed = []
    for number in range(count):
        source, technology, name, latitude, longitude, country, zone, grid = PLANTS[number % len(PLANTS)]
        listed.append(
            {
                "device_name": f"{name} {number // len(PLANTS) + 1}",
                "energy_source": source,
                "technology_type": technology,
                "capacity": CAPACITY_W[number % len(PLANTS)],
                "peak_demand": 0,
                "grid": grid,
                "operational_date": "2021-04-01",
                "location": [latitude, longitude],
                "country": country,
                "zone": zone,
            }
        )
    return listed


def share_of_capacity(source: str, hour: datetime, slow: float, quick: float, latitude: float) -> float:
    """What part of its capacity a plant makes in an hour; `slow` and `quick` are weather from 0 to 1."""
    season = cos(2 * pi * (hour.timetuple().tm_yday - 172) / 365)
    if source == "solar_pv":
        height = sin(2 * pi * (hour.hour - 5.5) / 24) * (1 - latitude / 120) + 0.25 * season
        return max(0.0, height) * (0.35 + 0.45 * slow + 0.2 * quick)
    if source == "wind":
        return max(0.0, min(1.0, 1.5 * slow - 0.25 - 0.1 * season) * (0.8 + 0.2 * quick))
    return 0.45 + 0.25 * sin(2 * pi * (hour.timetuple().tm_yday - 40) / 365) + 0.2 * slow


def hours(first: datetime, months: int) -> Iterator[datetime]:
    """Every hour of some months."""
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    end = first.replace(year=year, month=month + 1)
    while first < end:
        yield first
        first += timedelta(hours=1)


def lines(number: int, device: dict, first: datetime, months: int) -> Iterator[str]:
    """The lines of one device. Energy is in whole tens of Wh or more, as meters of this size count."""
    weather = Random(f"metawatt {number}")
    slow = 0.5
    step = max(10, device["capacity"] // 5000)
    for hour in hours(first, months):
        slow = min(1.0, max(0.0, slow + weather.gauss(0, 0.06)))
        share = share_of_capacity(device["energy_source"], hour, slow, weather.random(), device["location"][0])
        energy_wh = int(device["capacity"] * min(share, 1.0)) // step * step
        yield f"{device['device_name']},{hour:%Y-%m-%dT%H:%M:%SZ},{energy_wh}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make example data for metawatt import.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--devices", type=int, default=3)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--first", default="2025-01", metavar="YYYY-MM")
    asked = parser.parse_args()
    first = datetime.strptime(asked.first, "%Y-%m").replace(tzinfo=UTC)
    described = devices(asked.devices)
    table = "device,start,energy_wh\n" + "".join(
        line for number, device in enumerate(described) for line in lines(number, device, first, asked.months)
    )
    packed = io.BytesIO()
    # Without a time in its head, the same data is the same file.
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9, mtime=0, filename="") as file:
        file.write(table.encode())
    (asked.folder / f"generation-{asked.first}.csv.gz").write_bytes(packed.getvalue())
    (asked.folder / "devices.json").write_text(json.dumps(described, indent=2) + "\n")


if __name__ == "__main__":
    main()
