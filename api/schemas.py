"""JSON schemas of what goes over HTTP: the components of `/openapi.json`."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

Json = dict[str, Any]

BINARY: Final = MappingProxyType({"application/octet-stream": {"type": "string", "format": "binary"}})
_TEXT: Final[Json] = {"type": "string"}
_NATURAL: Final[Json] = {"type": "integer", "minimum": 0}
_U32: Final[Json] = {"type": "integer", "minimum": 0, "maximum": 4294967295}
_FLAG: Final[Json] = {"type": "boolean"}
_TIME: Final[Json] = {"type": "string", "format": "date-time"}
_TXID: Final[Json] = {"type": "string", "pattern": "^[0-9a-fA-F]{64}$", "description": "Display order."}
_BYTES: Final[Json] = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}}
_INDICES: Final[Json] = {"type": "array", "items": _NATURAL}
_NETWORK: Final[Json] = {"type": "string", "enum": ["main", "test", "dev"]}
_STATUS: Final[Json] = {"type": "string", "enum": ["ok", "degraded", "error"]}


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def map_of(name: str) -> Json:
    """An object whose values are all of one schema."""
    return {"type": "object", "additionalProperties": ref(name)}


def _object(required: str, **properties: Json) -> Json:
    """An object; `required` are names with blanks between them."""
    shape: Json = {"type": "object", "properties": properties}
    if required:
        shape["required"] = required.split()
    return shape


def _success(**properties: Json) -> Json:
    return _object("status", status={"type": "string", "const": "success"}, **properties)


def _metadata() -> Json:
    return _object(
        "name shortDescription",
        name=_TEXT,
        shortDescription=_TEXT,
        iconURL={"type": "string", "format": "uri"},
        version=_TEXT,
        informationURL={"type": "string", "format": "uri"},
    )


def _errors() -> Json:
    code = {"type": "string", "description": "Of the closed list in docs/ERRORS.md."}
    status = {"type": "string", "const": "error"}
    return {
        "ErrorResponse": _object(
            "status message code",
            status=status,
            message=_TEXT,
            code=code,
            requestId={"type": "string", "description": "With 500 only: the id in this node's log."},
        ),
        "RouteNotFound": _object(
            "status code description",
            status=status,
            code={"type": "string", "const": "ERR_ROUTE_NOT_FOUND"},
            description=_TEXT,
        ),
    }


def _data_plane() -> Json:
    return {
        "SuccessMessage": _success(message=_TEXT, data={"type": "object", "additionalProperties": True}),
        "STEAK": {
            "type": "object",
            "description": "Structured Transaction Evidence for Admitted Knowledge: an entry for each topic.",
            "additionalProperties": ref("TopicResult"),
        },
        "TopicResult": _object(
            "outputsToAdmit coinsToRetain coinsRemoved",
            outputsToAdmit={**_INDICES, "description": "Outputs that the topic holds now."},
            coinsToRetain={**_INDICES, "description": "Inputs whose coins the topic keeps as history."},
            coinsRemoved={**_INDICES, "description": "Inputs whose coins the topic gave up."},
            error={"type": "string", "description": "Why the topic could not judge; it admitted nothing."},
        ),
        "LookupRequest": _object(
            "service query",
            service={"type": "string", "description": "Name of the lookup service, `ls_…`."},
            query={"description": "As the service's documentation says."},
        ),
        "LookupAnswer": _object(
            "type outputs",
            type={"type": "string", "enum": ["output-list", "freeform"]},
            outputs={"type": "array", "items": ref("LookupOutput")},
            cursor={"type": "string", "description": "There is more: ask again with this in the query."},
            result={"description": "Any value, when the type is `freeform`."},
        ),
        "LookupOutput": _object("beef outputIndex", beef=_BYTES, outputIndex=_NATURAL, context=_BYTES),
        "ArcIngestRequest": _object(
            "txid",
            txid=_TXID,
            merklePath={"type": ["string", "null"], "description": "BUMP (BRC-74) in hex."},
            blockHeight={**_U32, "type": ["integer", "null"]},
            txStatus={"type": "string", "description": "ARC's status; left out, a Merkle path means MINED."},
            extraInfo={"type": ["string", "null"]},
            competingTxs={"type": ["array", "null"], "items": _TEXT},
        ),
    }


def _discovery() -> Json:
    return {"TopicManagerInfo": _metadata(), "LookupServiceInfo": _metadata()}


def _health() -> Json:
    return {
        "HealthReport": _object(
            "status live ready service checks",
            status=_STATUS,
            live=_FLAG,
            ready=_FLAG,
            service=ref("Service"),
            checks={"type": "array", "items": ref("HealthCheckResult")},
        ),
        "Service": _object(
            "name advertisableFQDN port network uptimeMs topicManagerCount lookupServiceCount",
            name=_TEXT,
            advertisableFQDN=_TEXT,
            port=_NATURAL,
            network=_NETWORK,
            startedAt=_TIME,
            uptimeMs=_NATURAL,
            topicManagerCount=_NATURAL,
            lookupServiceCount=_NATURAL,
        ),
        "HealthCheckResult": _object(
            "name scope critical status durationMs",
            name=_TEXT,
            scope={"type": "string", "enum": ["live", "ready"]},
            critical=_FLAG,
            status=_STATUS,
            message=_TEXT,
            details={"type": "object", "additionalProperties": True},
            durationMs=_NATURAL,
        ),
    }


def _records(record: Json) -> Json:
    return _object("records", records={"type": "array", "items": record})


def _admin() -> Json:
    service = {"type": "string", "description": "Name of a lookup service; all when left out."}
    names = {"type": "array", "items": _TEXT}
    return {
        "AdminConfig": _object(
            "adminIdentityKey nodeName", adminIdentityKey={"type": ["string", "null"]}, nodeName=_TEXT
        ),
        "AdminStatsResponse": _success(data=ref("AdminStats")),
        "AdminStats": _object(
            "",
            nodeName=_TEXT,
            network=_NETWORK,
            uptime={**_NATURAL, "description": "Milliseconds."},
            startedAt=_TIME,
            shipRecordCount=_NATURAL,
            slapRecordCount=_NATURAL,
            bannedDomains=_NATURAL,
            bannedOutpoints=_NATURAL,
            totalBans=_NATURAL,
            topicManagers=names,
            lookupServices=names,
            gaspSyncEnabled=_FLAG,
            engine={"type": "object", "additionalProperties": True, "description": "The engine's own figures."},
        ),
        "ConflictsResponse": _success(
            data=_records(_object("txid outpoint spentBy", txid=_TXID, outpoint=_TEXT, spentBy=_TXID, seenAt=_TIME))
        ),
        "EvictionsResponse": _success(
            data=_records(_object("txid reason", txid=_TXID, reason=_TEXT, evictedAt=_TIME))
        ),
        "EvictRequest": _object("txid outputIndex", txid=_TXID, outputIndex=_U32, service=service),
        "RemoveTokenRequest": _object(
            "txid outputIndex",
            txid=_TXID,
            outputIndex=_U32,
            service=service,
            ban={"type": "boolean", "description": "Not available here yet: true is refused."},
            banDomain={"type": "boolean", "description": "Not available here yet: true is refused."},
        ),
        "ReindexRequest": _object("", service=service),
    }


def _about() -> Json:
    return {
        "Version": _object(
            "name version network python sdk", name=_TEXT, version=_TEXT, network=_NETWORK, python=_TEXT, sdk=_TEXT
        )
    }


COMPONENTS: Final[Json] = {
    **_errors(),
    **_data_plane(),
    **_discovery(),
    **_health(),
    **_admin(),
    **_about(),
}
