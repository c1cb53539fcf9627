"""`/api/bridge/parity`: whether the chains add up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import structlog
from aiohttp import web

from api.bridge.mirror_part import PUBLIC_BASE, asset_of, bridge_route, mirror_of
from api.bridge.mirror_schemas import ParityShown
from api.ports import Node
from api.replies import json_reply
from api.route import Route
from bridge.mirror.message import UNITS_PER_WH
from bridge.mirror.mirror import Mirror
from bridge.mirror.parity.figures import ParityFigures
from bridge.mirror.parity.parity import last_figures
from config.errors import ErrorCode, Unavailable
from energytag.models.common import moment_of_ms

FRESH_SECS: Final = 5.0
_PUT_OFF_SECS: Final = 30.0
_SUMS: Final = ("tokens", "accounted_for", "difference")
_DESCRIPTION: Final = """\
custody + burned - minted = live + in_flight_in + in_flight_out + held

It is found out from both chains and the log, every few seconds at most; `at` says when."""
PARTS: Final = ("custody", "burned", "minted", "live", "in_flight_in", "in_flight_out", "held")
"""Of the equation, in base units."""

log = structlog.get_logger("metawatt.mirror")


class ParityDesk:
    """The figures that were found last: by the worker, or here, where it is asked for fresher ones. Finding them
    holds the bridge up for a moment, and anybody may ask: so it is done every few seconds at most, and is left
    alone for longer when it failed."""

    def __init__(self, clock_secs: Callable[[], float] = monotonic) -> None:
        self._clock_secs = clock_secs
        self._not_before_secs = float("-inf")
        # Guards the computation, so that many who ask wait for one.
        self._turn = asyncio.Lock()

    async def known(self, mirror: Mirror) -> ParityFigures:
        """What was found last. `Unavailable` before the first, and until Solana has answered."""
        asset = asset_of(mirror)
        stored, own = await last_figures(mirror.store, asset.name), mirror.parity.figures
        found = [each for each in (stored, own) if each is not None]
        if not found:
            raise Unavailable("Parity was not found out yet", ErrorCode.SOLANA_UNAVAILABLE)
        return max(found, key=lambda each: each.at_ms)

    async def fresh(self, mirror: Mirror) -> ParityFigures:
        """Those of this moment, or of one a few seconds ago; older ones while the chains do not tell."""
        asset_of(mirror)
        async with self._turn:
            if self._clock_secs() >= self._not_before_secs:
                await self._compute(mirror)
        return await self.known(mirror)

    async def _compute(self, mirror: Mirror) -> None:
        pause_secs = FRESH_SECS
        try:
            await mirror.parity.compute()
        except Unavailable as error:
            # The reason may name a server, and anybody may ask: it is in the log alone.
            log.warning("parity cannot be found out now", reason=error.message)
            pause_secs = _PUT_OFF_SECS
        self._not_before_secs = self._clock_secs() + pause_secs


class ParityHandler:
    def __init__(self, node: Node, desk: ParityDesk) -> None:
        self._node = node
        self._desk = desk

    async def parity(self, _request: web.Request) -> web.Response:
        return json_reply(parity_shown(await self._desk.fresh(mirror_of(self._node))))

    def routes(self) -> tuple[Route, ...]:
        return (
            bridge_route(
                "GET",
                f"{PUBLIC_BASE}/parity",
                "readBridgeParity",
                "Whether the tokens in custody are the certificates that live, to the base unit",
                self.parity,
                ParityShown,
                description=_DESCRIPTION,
            ),
        )


def parity_shown(figures: ParityFigures) -> dict[str, Any]:
    """Base units as text: they may be more than a number of JSON holds."""
    parts = {name: getattr(figures, name) for name in (*PARTS, *_SUMS)}
    return {
        "is_exact": figures.is_exact,
        "verdict": figures.verdict,
        "at": moment_of_ms(figures.at_ms),
        "mode": figures.mode,
        "slot": figures.slot,
        "height": figures.height,
        "log_entries": figures.entries,
        "units": {name: str(units) for name, units in parts.items()},
        "wh": {name: units // UNITS_PER_WH for name, units in parts.items()},
        "coins_wh": figures.coins_wh,
        "supply_units": str(figures.supply),
        "findings": list(figures.findings),
    }
