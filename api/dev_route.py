"""Routes that stand in for another service's."""

from __future__ import annotations

from api.route import Content, Handler, Parameter, Route, Tag, json_content


def dev_route(
    method: str,
    path: str,
    operation: str,
    summary: str,
    handler: Handler,
    body: Content | None = None,
    parameters: tuple[Parameter, ...] = (),
) -> Route:
    """A route of another service's API. It answers before the node is ready, which itself asks here."""
    return Route(
        method,
        path,
        operation,
        Tag.DEV,
        summary,
        handler,
        parameters=parameters,
        body=body,
        replies={200: json_content("As that service answers.", {})},
        quiet=True,
    )
