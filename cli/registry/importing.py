"""`metawatt import`: hourly generation of several devices, handed in and issued.

The registry takes a reading once and issues an interval once, so a run that was cut off is simply begun again:
what is there already is counted and passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import TypeAlias, TypeVar

import orjson
from pydantic import TypeAdapter
from rich.console import Console

from cli.progress import bar
from cli.registry.connecting import Door
from cli.registry.readings_file import read_file
from config.errors import BadRequest, ErrorCode, NotFound
from energytag.client import RegistryClient
from energytag.client.refusals import refusal_of
from energytag.models.common import read
from energytag.models.directory import DeviceBase
from energytag.models.measurements import DeviceReadings, IntervalReading, Issued

AT_ONCE = 4
"""Chunks under way at once: the registry makes the next one's transactions while one is flushed to disk."""

Readings: TypeAlias = Mapping[str, Sequence[IntervalReading]]
Progress: TypeAlias = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(slots=True)
class Done:
    """What an import came to. `already` counts bundles that had been issued before."""

    bundles: int = 0
    already: int = 0
    readings: int = 0

    def add(self, readings: int, issued: Issued) -> None:
        self.readings += readings
        self.bundles += issued.bundles
        self.already += issued.already_issued


def run(door: Door, file: Path, account_id: str, described: Path | None, chunk: int) -> None:
    """Import a file with a progress bar."""
    readings = read_file(file)
    console = Console(highlight=False)

    async def work() -> Done:
        async with door.client() as registry:
            devices = await devices_for(registry, account_id, list(readings), described)
            with bar(file.name, console) as move:
                return await hand_in(registry, devices, readings, chunk, move)

    done = asyncio.run(work())
    told = f", {done.already:,} had been issued before" if done.already else ""
    console.print(f"{done.bundles:,} bundles issued of {done.readings:,} readings{told}")


async def devices_for(
    registry: RegistryClient, account_id: str, names: Sequence[str], described: Path | None
) -> dict[str, str]:
    """The id of each device by its name; those that are missing are registered as `described`, a JSON list of
    devices without their account."""
    known = {device.device_name: device.device_id async for device in registry.accounts.devices(account_id)}
    missing = [name for name in names if name not in known]
    if missing and described is None:
        told = ", ".join(missing[:5])
        message = f"the account has no device {told}: register it, or give --create-devices"
        raise NotFound(message, ErrorCode.DEVICE_UNKNOWN)
    wanted = {} if described is None else descriptions(described, account_id)
    for name in missing:
        if name not in wanted:
            raise NotFound(f"{described} does not describe device {name}", ErrorCode.DEVICE_UNKNOWN)
        known[name] = (await registry.devices.create(wanted[name])).device_id
    return {name: known[name] for name in names}


def descriptions(path: Path, account_id: str) -> dict[str, DeviceBase]:
    """Devices by name."""
    try:
        listed = TypeAdapter(list[dict[str, object]]).validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path}: not a JSON list of devices: {error}") from None
    bodies = [read(DeviceBase, orjson.loads(orjson.dumps({**each, "account_id": account_id}))) for each in listed]
    return {body.device_name: body for body in bodies}


async def hand_in(
    registry: RegistryClient, devices: Mapping[str, str], readings: Readings, chunk: int, move: Progress
) -> Done:
    """Hand in all readings in chunks, a few at once; the first error ends it."""
    done, total = Done(), sum(map(len, readings.values()))
    gate = asyncio.Semaphore(AT_ONCE)
    move(0, total)

    async def one(device_id: str, part: Sequence[IntervalReading]) -> None:
        async with gate:
            done.add(len(part), await _issued(registry, device_id, part))
            move(done.readings, total)

    try:
        async with asyncio.TaskGroup() as group:
            for name, part in chunks(readings, chunk):
                group.create_task(one(devices[name], part))
    except* Exception as errors:
        raise _first(errors) from None
    return done


async def _issued(registry: RegistryClient, device_id: str, part: Sequence[IntervalReading]) -> Issued:
    body = DeviceReadings(device_id=device_id, readings=list(part), issue=True)
    taken = await registry.measurements.produce(body)
    if not taken.issuance:
        # The readings were still being taken in when the registry answered.
        for action_id in taken.action_ids:
            await registry.actions.wait(action_id)
        taken = await registry.measurements.produce(body)
    issued = (taken.issuance or [Issued(device_id=device_id, bundles=0, already_issued=0)])[0]
    if issued.error is not None:
        raise refusal_of(issued.error)
    if issued.action_id is not None and issued.action_state != "resolved":
        await registry.actions.wait(issued.action_id, timeout_secs=600)
    return issued


def chunks(readings: Readings, size: int) -> Iterator[tuple[str, Sequence[IntervalReading]]]:
    """Parts of at most `size` readings, a device after the other in turn: what is under way at once is of
    different devices."""
    cut = ([(name, own[at : at + size]) for at in range(0, len(own), size)] for name, own in readings.items())
    return (each for each in chain.from_iterable(zip_longest(*cut)) if each is not None)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
