"""Brings meters to a node of one's own: registered, and verified, with the operator's token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from bridge.simulator.gateway import Gateway
from bridge.simulator.meter import Meter
from config.errors import BadRequest, ErrorCode, MetawattError

AT_ONCE: Final = 16
_SAME: Final = ("wallet", "public_key", "format", "interval_secs")


class RegisteredOtherwise(BadRequest):
    """The node knows a meter of that serial otherwise than it is here."""

    default_code = ErrorCode.METER_EXISTS


async def register_all(gateway: Gateway, fleet: Sequence[Meter], moved: Callable[[int, int], None]) -> None:
    """Register and verify what is missing. Raises what the node refuses with, or `RegisteredOtherwise`."""
    for start in range(0, len(fleet), AT_ONCE):
        some = fleet[start : start + AT_ONCE]
        await asyncio.gather(*(_register(gateway, meter) for meter in some))
        moved(start + len(some), len(fleet))


async def _register(gateway: Gateway, meter: Meter) -> None:
    try:
        shown = await gateway.register(meter.registration())
    except MetawattError as error:
        if error.code is not ErrorCode.METER_EXISTS:
            raise
        shown = await _known(gateway, meter)
    if shown.get("status") == "pending":
        await gateway.verify(meter.serial)


async def _known(gateway: Gateway, meter: Meter) -> dict[str, Any]:
    shown, own = await gateway.meter(meter.serial), meter.registration()
    for name in _SAME:
        if shown.get(name) != own[name]:
            message = f"{meter.serial} is registered with {name} {shown.get(name)}, and has {own[name]} here"
            raise RegisteredOtherwise(f"{message}: give the folder of its keys, or other serials")
    return shown
