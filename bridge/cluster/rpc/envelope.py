"""JSON-RPC 2.0: reading calls out of a body, and writing replies.

A body is a call or a batch of calls. A call without an id is a notification: it is not answered, and since
none of the methods here is meant for that, it does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson

from bridge.cluster.rpc.faults import RpcCode, RpcFault
from bridge.cluster.rpc.limits import BATCH_MOST_CALLS
from bridge.cluster.rpc.params import NO_PARAMS, Params

Id: TypeAlias = str | int | float | None
_METHOD_MOST_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class Call:
    """One call; `fault` is what is wrong with it, where it cannot be made."""

    id: Id
    method: str = ""
    params: Params = NO_PARAMS
    fault: RpcFault | None = None
    answered: bool = True


@dataclass(frozen=True, slots=True)
class Calls:
    """What a body asks for. A batch is answered with a list, also when it holds one call."""

    calls: list[Call]
    batch: bool


def read_calls(body: bytes | str, most_calls: int = BATCH_MOST_CALLS) -> Calls:
    """The calls of a body. It never raises: what cannot be read is a call with a fault."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Calls([Call(None, fault=RpcFault(RpcCode.PARSE, "Parse error"))], batch=False)
    if not isinstance(value, list):
        return Calls([_read_call(value)], batch=False)
    if not value:
        return Calls([Call(None, fault=_INVALID_REQUEST)], batch=False)
    if len(value) > most_calls:
        fault = RpcFault(RpcCode.INVALID_REQUEST, f"A batch may hold at most {most_calls} calls")
        return Calls([Call(None, fault=fault)], batch=False)
    return Calls([_read_call(entry) for entry in value], batch=True)


def result_reply(call: Call, result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "result": result, "id": call.id}


def fault_reply(call: Call, fault: RpcFault) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": fault.body(), "id": call.id}


_INVALID_REQUEST: Final = RpcFault(RpcCode.INVALID_REQUEST, "Invalid request")


def _read_call(value: Any) -> Call:
    if not isinstance(value, dict):
        return Call(None, fault=_INVALID_REQUEST)
    number = value.get("id")
    if isinstance(number, bool) or not isinstance(number, str | int | float | None):
        return Call(None, fault=_INVALID_REQUEST)
    method, params = value.get("method"), value.get("params")
    if value.get("jsonrpc") != "2.0" or not isinstance(method, str) or len(method) > _METHOD_MOST_CHARS:
        return Call(number, fault=_INVALID_REQUEST)
    if params is not None and not isinstance(params, list):
        fault = RpcFault(RpcCode.INVALID_PARAMS, "`params` should be an array")
        return Call(number, method, fault=fault, answered="id" in value)
    return Call(number, method, Params(params) if params else NO_PARAMS, answered="id" in value)
