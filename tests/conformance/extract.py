"""Makes `specification.json` of EnergyTag's OpenAPI text: its facts, without its prose.

    python tests/conformance/extract.py energytag-v2.openapi.json > tests/conformance/specification.json

Kept are the paths, methods, statuses and schemas. `documented` is the path that an operation's id spells, which is
the one that the specification's own server has.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

PROSE = {"title", "description", "summary", "example", "examples"}


def facts(schema: Any) -> Any:
    """A schema without its prose; names of properties are not prose."""
    if isinstance(schema, list):
        return [facts(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: facts(value) for key, value in schema.items() if key not in PROSE and key != "properties"}
    if "properties" in schema:
        kept["properties"] = {name: facts(value) for name, value in schema["properties"].items()}
    return kept


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        operation(path, method, each) for path, verbs in document["paths"].items() for method, each in verbs.items()
    ]


def operation(path: str, method: str, told: dict[str, Any]) -> dict[str, Any]:
    status = next(status for status in told["responses"] if status.startswith("2"))
    return {
        "method": method.upper(),
        "path": path,
        "documented": documented(path, told["operationId"]),
        "request": schema_name(told.get("requestBody")),
        "status": int(status),
        "response": schema_name(told["responses"][status]),
        "errors": {
            status: schema_name(reply) for status, reply in told["responses"].items() if not status.startswith("2")
        },
    }


def documented(path: str, operation_id: str) -> str:
    """The path by its spelling in the id, where every character but letters and digits is an underscore."""
    root, *rest = path.strip("/").split("/")
    doubled = [f"/{root}/{again}" for again in (root, root.removesuffix("s"))]
    spellings = [head + "".join(f"/{each}" for each in rest) for head in doubled]
    spellings += [each.replace("reserve", "reseve") for each in spellings]
    found = [each for each in spellings if re.sub(r"\W", "_", each) in operation_id]
    return found[0] if found else path


def schema_name(content: dict[str, Any] | None) -> str | None:
    if content is None:
        return None
    return str(content["content"]["application/json"]["schema"]["$ref"]).rpartition("/")[2]


def main() -> None:
    document = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    made = {
        "operations": operations(document),
        "schemas": {name: facts(schema) for name, schema in document["components"]["schemas"].items()},
    }
    json.dump(made, sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
