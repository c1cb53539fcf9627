"""The application: every handler, one table of routes, and the edge around them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version as installed_version
from time import monotonic
from typing import Final

from aiohttp import web

from api import openapi
from api.about import AboutHandler
from api.access import admin_only, any_bearer, callback_only
from api.admin import AdminHandler
from api.arc import ArcHandler
from api.bridge.live import LiveHandler
from api.bridge.meters import MetersHandler
from api.bridge.minting import MintingHandler
from api.bridge.mirror import mirror_routes
from api.bridge.readings import ReadingsHandler
from api.bridge.token import TokenHandler
from api.bridge.watching import WatchingHandler
from api.devchain import DevChainHandler
from api.discovery import DiscoveryHandler
from api.edge import Edge
from api.fallback import Fallback
from api.figures import Exposition
from api.health_routes import HealthHandler
from api.lifecycle import Lifecycle, Phase
from api.limits import Bodies, Gate, TokenBuckets
from api.lookup import LookupHandler
from api.metrics import HttpMetrics
from api.ports import Node
from api.registry.actions import ActionsHandler
from api.registry.certificates import CertificatesHandler
from api.registry.directory import DirectoryHandler
from api.registry.login import LoginHandler
from api.registry.matching import MatchingHandler
from api.registry.measurements import MeasurementsHandler
from api.registry.recurring import RecurringHandler
from api.registry.storage import StorageHandler
from api.registry.transfer_files import TransferFilesHandler
from api.registry.wallet import WalletHandler
from api.route import Access, Route
from api.solana.routes import DevSolanaHandler
from api.submit import SubmitHandler
from config.settings import LimitSettings
from overlay.clock import NowMs, system_now_ms

ROUTES: Final = web.AppKey("routes", tuple)
EXPOSITION: Final = web.AppKey("exposition", Exposition)


def create_app(node: Node, lifecycle: Lifecycle | None = None, now_ms: NowMs = system_now_ms) -> web.Application:
    """The application of a node. Without a lifecycle the node is taken to have started already."""
    lifecycle = lifecycle or Lifecycle(Phase.READY)
    metrics = HttpMetrics()
    exposition = Exposition(metrics, monotonic)
    routes, about = _routes(node, lifecycle, metrics, exposition, now_ms)
    about.publish(openapi.document(routes, installed_version("metawatt")))
    app = web.Application(client_max_size=node.settings.limits.body_bytes)
    app[ROUTES] = routes
    app[EXPOSITION] = exposition
    _mount(app, routes, _edge(node, lifecycle, metrics))
    return app


def _routes(
    node: Node, lifecycle: Lifecycle, metrics: HttpMetrics, exposition: Exposition, now_ms: NowMs
) -> tuple[tuple[Route, ...], AboutHandler]:
    limits = node.settings.limits
    bodies = Bodies(limits.body_bytes, limits.bodies_bytes, limits.body_timeout_secs)
    submissions = Gate("submissions", limits.concurrent_submissions, limits.waiting_submissions)
    lookups = Gate("lookups", limits.concurrent_lookups, limits.waiting_lookups)
    metrics.watch((submissions, lookups), bodies)
    about = AboutHandler(node, lifecycle, exposition, installed_version("metawatt"))
    groups: list[Iterable[Route]] = [
        SubmitHandler(node, bodies, submissions).routes(),
        LookupHandler(node, bodies, lookups).routes(),
        ArcHandler(node, bodies).routes(),
        DiscoveryHandler(node).routes(),
        HealthHandler(node, lifecycle, now_ms).routes(),
        AdminHandler(node, bodies, lifecycle, now_ms).routes(),
        about.routes(),
    ]
    if node.settings.registry.enabled:
        groups += _registry(node, bodies)
    if node.settings.takes_readings:
        groups += _metering(node, bodies)
    if node.settings.mirrors:
        groups += mirror_routes(node, bodies, lifecycle, now_ms)
    if node.dev_chain is not None:
        groups.append(DevChainHandler(node.dev_chain, bodies).routes())
    if node.solana is not None:
        groups.append(DevSolanaHandler(node.solana, bodies).routes())
    return tuple(route for group in groups for route in group), about


def _registry(node: Node, bodies: Bodies) -> list[Iterable[Route]]:
    return [
        LoginHandler(node, bodies).routes(),
        DirectoryHandler(node, bodies).routes(),
        CertificatesHandler(node, bodies).routes(),
        ActionsHandler(node, bodies).routes(),
        RecurringHandler(node).routes(),
        TransferFilesHandler(node, bodies).routes(),
        StorageHandler(node, bodies).routes(),
        WalletHandler(node, bodies).routes(),
        MeasurementsHandler(node, bodies).routes(),
        MatchingHandler(node).routes(),
    ]


def _metering(node: Node, bodies: Bodies) -> list[Iterable[Route]]:
    return [
        ReadingsHandler(node, bodies).routes(),
        MetersHandler(node, bodies).routes(),
        TokenHandler(node).routes(),
        MintingHandler(node, bodies).routes(),
        WatchingHandler(node, bodies).routes(),
        LiveHandler(node).routes(),
    ]


def _edge(node: Node, lifecycle: Lifecycle, metrics: HttpMetrics) -> Edge:
    authorise = {
        Access.ADMIN: admin_only(node.admin_token),
        Access.CALLBACK: callback_only(node.callback_token),
        Access.CALLER: any_bearer,
    }
    verbose = node.settings.log.level == "debug"
    return Edge(metrics, lifecycle, _buckets(node.settings.limits), authorise, verbose)


def _buckets(limits: LimitSettings) -> TokenBuckets | None:
    if limits.requests_per_minute == 0:
        return None
    return TokenBuckets(limits.requests_per_minute, limits.burst_requests, monotonic)


def _mount(app: web.Application, routes: Iterable[Route], edge: Edge) -> None:
    fallback = Fallback(routes)
    for route in routes:
        handler = edge.guard(route)
        for path in route.paths:
            app.router.add_route(route.method, path, handler)
            if route.method == "GET":
                app.router.add_route("HEAD", path, handler)
    # Last: whatever no route takes.
    app.router.add_route("*", "/{path:.*}", edge.guard(fallback.route()))
