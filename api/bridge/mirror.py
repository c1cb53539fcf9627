"""All routes of the mirror."""

from __future__ import annotations

from collections.abc import Iterable

from api.bridge.mirror_events import EventsHandler
from api.bridge.mirror_messages import MessagesHandler
from api.bridge.mirror_operations import OperationsHandler
from api.bridge.mirror_page import OverviewHandler
from api.bridge.mirror_parity import ParityDesk, ParityHandler
from api.bridge.mirror_quote import QuoteHandler
from api.lifecycle import Lifecycle
from api.limits import Bodies
from api.ports import Node
from api.route import Route
from overlay.clock import NowMs


def mirror_routes(
    node: Node, bodies: Bodies, lifecycle: Lifecycle, now_ms: NowMs, order_secs: float | None = None
) -> list[Iterable[Route]]:
    """For a node that is a bridge; each answers 503 until the node has started. `order_secs` is how long an
    operator's order is waited for; by default as an action of the registry."""
    parity = ParityDesk()
    wait_secs = node.settings.registry.action_wait_secs if order_secs is None else order_secs
    return [
        OverviewHandler(node, parity, now_ms).routes(),
        MessagesHandler(node).routes(),
        QuoteHandler(node).routes(),
        ParityHandler(node, parity).routes(),
        EventsHandler(node, lifecycle).routes(),
        OperationsHandler(node, bodies, wait_secs).routes(),
    ]
