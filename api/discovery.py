"""What is hosted here: topic managers, lookup services, and their documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from api import schemas
from api.ports import Node
from api.replies import json_reply, text_reply
from api.route import Parameter, Route, Tag, json_content, text_content
from overlay.lookup_service import LookupService
from overlay.topic import Metadata, TopicManager

# The reference answers this with 200, also for a name that it does not host.
_NO_DOCUMENTATION = "No documentation found!"


def metadata_to_wire(metadata: Metadata) -> dict[str, str]:
    """The JSON shape of an entry; what is not known is left out."""
    wire = {
        "name": metadata.name,
        "shortDescription": metadata.short_description,
        "iconURL": metadata.icon_url,
        "version": metadata.version,
        "informationURL": metadata.information_url,
    }
    return {name: value for name, value in wire.items() if value is not None}


class DiscoveryHandler:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def topic_managers(self, _request: web.Request) -> web.Response:
        return json_reply(_entries(self._node.engine.topic_managers))

    async def lookup_services(self, _request: web.Request) -> web.Response:
        return json_reply(_entries(self._node.engine.lookup_services))

    async def topic_documentation(self, request: web.Request) -> web.Response:
        return _documentation(self._node.engine.topic_managers, request.query.get("manager", ""))

    async def lookup_documentation(self, request: web.Request) -> web.Response:
        return _documentation(self._node.engine.lookup_services, request.query.get("lookupService", ""))

    def routes(self) -> tuple[Route, ...]:
        return (
            self._list("/listTopicManagers", "listTopicManagers", "topic managers", "TopicManagerInfo"),
            self._list(
                "/listLookupServiceProviders",
                "listLookupServiceProviders",
                "lookup services",
                "LookupServiceInfo",
            ),
            self._document("/getDocumentationForTopicManager", "manager", "topic manager"),
            self._document("/getDocumentationForLookupServiceProvider", "lookupService", "lookup service"),
        )

    def _list(self, path: str, operation: str, things: str, schema: str) -> Route:
        return Route(
            "GET",
            path,
            operation,
            Tag.DISCOVERY,
            f"List hosted {things}",
            self.topic_managers if schema == "TopicManagerInfo" else self.lookup_services,
            replies={200: json_content("An entry for each name.", schemas.map_of(schema))},
            errors=(503,),
            when_ready=True,
        )

    def _document(self, path: str, parameter: str, thing: str) -> Route:
        return Route(
            "GET",
            path,
            path.removeprefix("/"),
            Tag.DISCOVERY,
            f"Documentation of a {thing}",
            self.topic_documentation if parameter == "manager" else self.lookup_documentation,
            description=f"`{_NO_DOCUMENTATION}` for a name that is not hosted here.",
            parameters=(Parameter(parameter, "query", f"Name of the {thing}.", {"type": "string"}, True),),
            replies={200: text_content("Markdown.", "text/markdown")},
            errors=(503,),
            when_ready=True,
        )


def _entries(hosted: Mapping[str, TopicManager] | Mapping[str, LookupService]) -> dict[str, Any]:
    return {name: metadata_to_wire(entry.metadata) for name, entry in hosted.items()}


def _documentation(hosted: Mapping[str, TopicManager] | Mapping[str, LookupService], name: str) -> web.Response:
    entry = hosted.get(name)
    return text_reply(entry.documentation if entry else _NO_DOCUMENTATION, "text/markdown")
