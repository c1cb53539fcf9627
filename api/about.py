"""What the node tells of itself: `/`, `/version`, `/metrics`, `/openapi.json` and `/docs`."""

from __future__ import annotations

import platform
from typing import Any

import orjson
from aiohttp import web

from api import schemas
from api.figures import Exposition
from api.lifecycle import Lifecycle
from api.pages import Pages, page_reply
from api.ports import Node
from api.replies import json_bytes, json_reply, text_reply
from api.route import Route, Tag, json_content, text_content
from overlay.sdk import SDK_VERSION

_EXPOSITION = "text/plain; version=0.0.4"


class AboutHandler:
    """`publish` is called once with the document of all routes, of which these are some."""

    def __init__(self, node: Node, lifecycle: Lifecycle, exposition: Exposition, version: str) -> None:
        self._node = node
        self._lifecycle = lifecycle
        self._exposition = exposition
        self._version = version
        settings = node.settings.node
        self._pages = Pages(name=settings.name, network=settings.network, version=version)
        self._document = b""
        self._documentation = ""

    def publish(self, document: dict[str, Any]) -> None:
        self._document = orjson.dumps(document)
        self._documentation = self._pages.documentation(document)

    async def front(self, request: web.Request) -> web.Response:
        node, ready = self._node, self._lifecycle.ready
        topics = [entry.metadata for entry in node.engine.topic_managers.values()] if ready else []
        services = [entry.metadata for entry in node.engine.lookup_services.values()] if ready else []
        page = self._pages.render(
            "index.html",
            ready=ready,
            has_bridge=node.settings.mirrors,
            tip_height=node.headers.tip_height if ready else None,
            identity=node.identity.hex(),
            base=f"http://{request.host}",
            topic=topics[0].name if topics else "tm_metawatt_gc",
            service=services[0].name if services else "ls_metawatt",
            hosted=(
                ("Topics", "getDocumentationForTopicManager", "manager", topics),
                ("Lookup services", "getDocumentationForLookupServiceProvider", "lookupService", services),
            ),
        )
        return page_reply(page)

    async def version(self, _request: web.Request) -> web.Response:
        return json_reply(
            {
                "name": "metawatt",
                "version": self._version,
                "network": self._node.settings.node.network,
                "python": platform.python_version(),
                "sdk": SDK_VERSION,
            }
        )

    async def metrics(self, _request: web.Request) -> web.Response:
        ready = self._lifecycle.ready
        text = await self._exposition.render(self._node if ready else None)
        return text_reply(text, _EXPOSITION)

    async def openapi(self, _request: web.Request) -> web.Response:
        return json_bytes(self._document)

    async def documentation(self, _request: web.Request) -> web.Response:
        return page_reply(self._documentation)

    def routes(self) -> tuple[Route, ...]:
        page = text_content("A page.", "text/html")
        document = json_content("OpenAPI 3.1.", {"type": "object"})
        version = json_content("Versions.", schemas.ref("Version"))
        exposition = text_content("Prometheus' text format.", "text/plain")
        return (
            Route("GET", "/", "front", Tag.ABOUT, "This node, for people", self.front, replies={200: page}),
            Route("GET", "/version", "version", Tag.ABOUT, "Versions", self.version, replies={200: version}),
            Route(
                "GET",
                "/metrics",
                "metrics",
                Tag.ABOUT,
                "Metrics for Prometheus",
                self.metrics,
                replies={200: exposition},
                quiet=True,
            ),
            Route(
                "GET",
                "/openapi.json",
                "openapi",
                Tag.ABOUT,
                "This document",
                self.openapi,
                replies={200: document},
            ),
            Route(
                "GET",
                "/docs",
                "docs",
                Tag.ABOUT,
                "This document, for people",
                self.documentation,
                replies={200: page},
            ),
        )
