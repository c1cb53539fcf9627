"""The page `/bridge`, and the same as JSON: parity, queues, headroom, pauses, recent messages."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version as installed_version
from typing import Any, Final

from aiohttp import web

from api.bridge.mirror_headroom import headroom_shown
from api.bridge.mirror_messages import newest
from api.bridge.mirror_parity import ParityDesk, parity_shown
from api.bridge.mirror_part import PUBLIC_BASE, bridge_route, mirror_of
from api.bridge.mirror_schemas import MessagesQuestion, OverviewShown, PageQuestion
from api.bridge.mirror_showing import BSV, SOLANA, message_path, message_shown
from api.pages import Pages, page_reply
from api.ports import Node
from api.registry.asking import parameters_of, question_of
from api.registry.statement_page import moment_text, whole_text
from api.replies import json_reply
from api.route import Route, text_content
from bridge.mirror.alarms import standing
from bridge.mirror.books.limits import Headroom
from bridge.mirror.message import UNITS_PER_WH, Message
from bridge.mirror.mirror import Mirror
from bridge.mirror.operators.sizes import MirrorFigures, MirrorMeasuring
from bridge.mirror.parity.figures import ParityFigures
from bridge.mirror.states import Direction
from config.errors import Unavailable
from energytag.models.common import moment_of_ms
from overlay.clock import NowMs
from store.port import Document

RECENT: Final = 25
_TITLES: Final = {Direction.IN: "Solana → BSV", Direction.OUT: "BSV → Solana"}
_CHAINS: Final = {SOLANA: "Solana", BSV: "BSV"}
_SHORT: Final = 12
_MINUTE_SECS: Final = 60
_HOUR_SECS: Final = 3600


class OverviewHandler:
    """Figures are those of a moment ago: anybody may ask for them."""

    def __init__(self, node: Node, parity: ParityDesk, now_ms: NowMs) -> None:
        self._node = node
        self._parity = parity
        self._now_ms = now_ms
        self._measuring: MirrorMeasuring | None = None
        settings = node.settings.node
        self._pages = Pages(name=settings.name, network=settings.network, version=installed_version("metawatt"))

    async def overview(self, _request: web.Request) -> web.Response:
        mirror = mirror_of(self._node)
        figures = await self._figures(mirror)
        paused = await mirror.pauses.all()
        ways = [
            _way_shown(each, figures, paused.get(each), await mirror.limits.headroom(each)) for each in Direction
        ]
        parity, _ = await self._known_parity(mirror)
        asset = mirror.asset
        return json_reply(
            {
                "is_connected": asset is not None,
                "trouble": mirror.trouble,
                "mint": None if asset is None else asset.name,
                "mode": mirror.settings.bridge.mode,
                "directions": ways,
                "alarms": list(map(_alarm_shown, await standing(mirror.store))),
                "parity": None if parity is None else parity_shown(parity),
                "log_entries": figures.entries,
            }
        )

    async def page(self, request: web.Request) -> web.Response:
        every = question_of(request, PageQuestion).every
        mirror = mirror_of(self._node)
        figures = await self._figures(mirror)
        paused = await mirror.pauses.all()
        parity, trouble = await self._known_parity(mirror)
        rows = (await newest(mirror.store, MessagesQuestion(limit=RECENT))).documents
        html = self._pages.render(
            "bridge.html",
            every=every,
            trouble=mirror.trouble,
            ways=[_way(each, figures, paused.get(each), await mirror.limits.headroom(each)) for each in Direction],
            alarms=[_alarm(row) for row in await standing(mirror.store)],
            parity=None if parity is None else parity_lines(parity),
            parity_trouble=trouble,
            messages=[_line(Message.read(row)) for row in rows],
            identity=mirror.identity.hex(),
            whole=whole_text,
            duration=duration_text,
            **_asset(mirror),
        )
        return page_reply(html)

    async def _figures(self, mirror: Mirror) -> MirrorFigures:
        if self._measuring is None:
            self._measuring = MirrorMeasuring(mirror.store, self._now_ms)
        return await self._measuring.figures()

    async def _known_parity(self, mirror: Mirror) -> tuple[ParityFigures | None, str]:
        """The figures, or why there are none: the page is there all the same."""
        try:
            return await self._parity.known(mirror), ""
        except Unavailable as error:
            return None, f"Parity cannot be told now: {error.message}"

    def routes(self) -> tuple[Route, ...]:
        return (
            bridge_route(
                "GET",
                PUBLIC_BASE,
                "readBridge",
                "The bridge at this moment: parity, queues, headroom, pauses",
                self.overview,
                OverviewShown,
            ),
            bridge_route(
                "GET",
                "/bridge",
                "bridgePage",
                "The bridge, for people",
                self.page,
                {200: text_content("A page.", "text/html")},
                parameters=parameters_of(PageQuestion),
            ),
        )


def _transaction(end: Mapping[str, Any]) -> dict[str, str]:
    """A transaction as the page has it: its beginning, and where to find all that is of it."""
    text = str(end["transaction"])
    name = "signature" if end["chain"] == SOLANA else "txid"
    return {
        "chain": _CHAINS[end["chain"]],
        "short": f"{text[:_SHORT]}…",
        "full": text,
        "link": f"api/bridge/search?{name}={text}",
    }


def _asset(mirror: Mirror) -> dict[str, Any]:
    asset = mirror.asset
    if asset is None:
        return {"mint": None, "custody": None}
    return {"mint": asset.name, "custody": str(asset.custody) if asset.mode == "lock" else None}


def _way_shown(
    direction: Direction, figures: MirrorFigures, pause: Document | None, room: Headroom
) -> dict[str, Any]:
    queues = [each for each in figures.queues if each.direction is direction]
    return {
        "direction": direction,
        "is_paused": pause is not None,
        "paused_at": None if pause is None else moment_of_ms(pause["at_ms"]),
        "open_messages": sum(each.messages for each in queues),
        "open_wh": sum(each.wh for each in queues),
        "states": {each.state.value: each.messages for each in queues},
        "oldest_secs": figures.oldest_secs[direction],
        "headroom": headroom_shown(room),
    }


def _way(direction: Direction, figures: MirrorFigures, pause: Document | None, room: Headroom) -> dict[str, Any]:
    """One direction as the page has it."""
    queues = [each for each in figures.queues if each.direction is direction]
    return {
        "title": _TITLES[direction],
        "direction": direction.value,
        "is_paused": pause is not None,
        "paused_at": "" if pause is None else _moment(moment_of_ms(pause["at_ms"])),
        "queues": queues,
        "room": headroom_shown(room),
        "oldest": duration_text(round(figures.oldest_secs[direction])) if queues else "–",
    }


def _alarm_shown(row: Document) -> dict[str, Any]:
    return {"alarm": row["alarm"], "subject": row["subject"], "at": moment_of_ms(row["at_ms"])}


def _alarm(row: Document) -> dict[str, str]:
    """As the page has it."""
    shown = _alarm_shown(row)
    return {"name": str(shown["alarm"]).replace("_", " "), "subject": shown["subject"], "at": _moment(shown["at"])}


def _line(message: Message) -> dict[str, Any]:
    """A message as a line of the page."""
    shown = message_shown(message)
    reason: Mapping[str, Any] | None = shown["reason"]
    return {
        "since": _moment(shown["created_at"]),
        "id": shown["message_id"],
        "short": f"{shown['message_id'][:_SHORT]}…",
        "link": message_path(message).removeprefix("/"),
        "receipt": None if shown["receipt"] is None else str(shown["receipt"]).removeprefix("/"),
        "way": f"{_TITLES[message.direction]}{', refund' if message.is_refund else ''}",
        "state": message.state.value,
        "reason": None if reason is None else str(reason["code"]).replace("_", " "),
        "wh": message.wh,
        "transactions": [
            _transaction(shown[end]) for end in ("source", "destination") if shown[end]["transaction"]
        ],
    }


_LINES: Final = {
    "custody": "Tokens in custody",
    "burned": "+ burned to cross",
    "minted": "− minted for exits",
    "tokens": "Tokens that ought to be mirrored",
    "live": "Live mirrored certificates",
    "in_flight_in": "+ on the way to BSV",
    "in_flight_out": "+ on the way to Solana",
    "held": "+ held for a person, or to be given back",
    "accounted_for": "Accounted for",
}
_SUMS: Final = ("tokens", "accounted_for")


def parity_lines(figures: ParityFigures) -> dict[str, Any]:
    """The equation as the page has it, without what the mode does not know."""
    left_out = ("burned", "minted") if figures.mode == "lock" else ("custody",)
    lines = [
        {"name": title, "text": wh_text(getattr(figures, name)), "is_sum": name in _SUMS}
        for name, title in _LINES.items()
        if name not in left_out
    ]
    at = _moment(moment_of_ms(figures.at_ms))
    return {"is_exact": figures.is_exact, "verdict": figures.verdict, "lines": lines, "at": at}


def wh_text(units: int) -> str:
    """Base units in Wh, exact: what is below a Wh stands behind the point."""
    whole, rest = divmod(abs(units), UNITS_PER_WH)
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    return f"{'−' if units < 0 else ''}{whole_text(whole)}{fraction}"


def duration_text(secs: int) -> str:
    """A time for reading, by its largest units."""
    if secs < _MINUTE_SECS:
        return f"{secs} s"
    if secs < _HOUR_SECS:
        return f"{secs // _MINUTE_SECS} min"
    hours, rest = divmod(secs, _HOUR_SECS)
    return f"{hours} h {rest // _MINUTE_SECS} min" if rest >= _MINUTE_SECS else f"{hours} h"


def _moment(text: str) -> str:
    """To the second."""
    return moment_text(text.partition(".")[0].removesuffix("Z") + "Z")
