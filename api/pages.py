"""Pages for people: `/` and `/docs`. They are made here, load nothing from anywhere, and need no scripts."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final

import orjson
from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from api.replies import text_reply

Json = dict[str, Any]

_STYLE: Final = files("api").joinpath("templates/style.css").read_text("utf-8")
_STYLE_HASH: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TOKENS: Final = {
    "AdminToken": "admin token",
    "CallbackToken": "callback token",
    "CallerToken": "token of a login, or the admin token",
}


class Pages:
    """Renders templates with what every page shows."""

    def __init__(self, **shared: Any) -> None:
        self._templates = Environment(
            loader=PackageLoader("api"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"prose": prose, "inline": inline}
        # The style sheet is this project's own file; escaping would change what its hash is of.
        self._shared = {**shared, "style": Markup(_STYLE)}  # noqa: S704

    def render(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(**self._shared, **values)

    def documentation(self, document: Json) -> str:
        """The page of an OpenAPI document."""
        return self.render(
            "docs.html",
            introduction=document["info"]["description"],
            groups=list(_groups(document)),
            schemas=[
                {"name": name, "text": _pretty(schema)}
                for name, schema in document["components"]["schemas"].items()
            ],
        )


def prose(text: str) -> Markup:
    """A description for reading, paragraph by paragraph."""
    return Markup("").join(Markup("<p>{}</p>").format(inline(part)) for part in text.split("\n\n"))


def inline(text: str) -> Markup:
    """A line for reading: what stands between backticks is code, the rest is escaped as it is."""
    parts = [escape(part) for part in text.split("`")]
    marked = [Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts)]
    return Markup("").join(marked)


def page_reply(html: str) -> web.Response:
    """A page with a policy under which a browser runs and loads nothing."""
    return text_reply(
        html, "text/html", Content_Security_Policy=_POLICY, Referrer_Policy="no-referrer", X_Frame_Options="DENY"
    )


def _groups(document: Json) -> Iterator[Json]:
    operations = [
        _operation(verb, path, operation)
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    ]
    for tag in document["tags"]:
        members = [operation for operation in operations if operation["tag"] == tag["name"]]
        yield {"name": tag["name"], "description": tag["description"], "operations": members}


def _operation(verb: str, path: str, operation: Json) -> Json:
    schemes = [name for scheme in operation.get("security", []) for name in scheme]
    body = operation.get("requestBody")
    return {
        "id": operation["operationId"],
        "tag": operation["tags"][0],
        "verb": verb.upper(),
        "colour": verb if verb in ("get", "post") else "other",
        "path": path,
        "summary": operation["summary"],
        "description": operation.get("description", ""),
        "token": _TOKENS[schemes[0]] if schemes else None,
        "parameters": operation.get("parameters", []),
        "body": body and {"description": body["description"], "media": _media(body)},
        "replies": [
            {"status": status, "description": reply["description"], "media": _media(reply)}
            for status, reply in operation["responses"].items()
        ],
    }


def _media(content: Json) -> dict[str, str]:
    return {media_type: _pretty(body["schema"]) for media_type, body in content["content"].items()}


def _pretty(schema: Any) -> str:
    """A schema for reading: a reference is shown by its name."""
    if set(schema) == {"$ref"}:
        return str(schema["$ref"].rpartition("/")[2])
    return orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode().replace("#/components/schemas/", "")
