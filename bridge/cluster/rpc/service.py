"""Solana's JSON-RPC before an embedded cluster: bodies in, bodies out, and nothing of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import CoroutineType
from typing import Any, Final

import orjson
import structlog

from bridge.cluster.cluster import Cluster
from bridge.cluster.refusals import AnswerLost
from bridge.cluster.rpc.account_methods import AccountMethods
from bridge.cluster.rpc.account_views import AccountViews
from bridge.cluster.rpc.context import Context, Method, Methods
from bridge.cluster.rpc.dev_methods import DevMethods
from bridge.cluster.rpc.envelope import Call, fault_reply, read_calls, result_reply
from bridge.cluster.rpc.faults import RpcCode, RpcFault
from bridge.cluster.rpc.ledger_methods import LedgerMethods
from bridge.cluster.rpc.notices import Notices
from bridge.cluster.rpc.token_methods import TokenMethods
from bridge.cluster.rpc.transaction_methods import TransactionMethods
from config.errors import Unavailable

# Of a batch, between two turns of the event loop.
_CALLS_AT_A_TIME: Final = 16
log = structlog.get_logger("metawatt.solana")


class Service:
    """Every method of the interface, and the notices of its WebSocket.

    `start` begins listening to the cluster, which must be open; `stop` ends it and every connection.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        context, views = Context(cluster), AccountViews(cluster)
        self.methods: Methods = {
            **LedgerMethods(context).methods(),
            **AccountMethods(context, views).methods(),
            **TokenMethods(context, views).methods(),
            **TransactionMethods(context, views).methods(),
            **DevMethods(cluster).methods(),
        }
        self.notices = Notices(cluster, views)

    def start(self) -> None:
        self.notices.start()

    def stop(self) -> None:
        self.notices.stop()

    async def answer(self, body: bytes) -> bytes:
        """The reply to a body; empty when nothing in it is to be answered. Raises `AnswerLost` where the
        cluster lost the answer to a call on purpose: the connection is then to be cut."""
        return await answer(self.methods, body)


async def answer(methods: Mapping[str, Method], body: bytes | str) -> bytes:
    """The reply of these methods to a body, which may be a batch."""
    asked = read_calls(body)
    replies = []
    for number, call in enumerate(asked.calls, 1):
        if call.answered:
            replies.append(await _reply(methods, call))
        if number % _CALLS_AT_A_TIME == 0:
            await asyncio.sleep(0)
    if not replies:
        return b""
    return orjson.dumps(replies if asked.batch else replies[0])


async def _reply(methods: Mapping[str, Method], call: Call) -> dict[str, Any]:
    if call.fault is not None:
        return fault_reply(call, call.fault)
    method = methods.get(call.method)
    if method is None:
        return fault_reply(call, RpcFault(RpcCode.METHOD_NOT_FOUND, "Method not found"))
    try:
        result = method(call.params)
        if type(result) is CoroutineType:
            result = await result
    except RpcFault as fault:
        return fault_reply(call, fault)
    except AnswerLost:
        raise
    except Unavailable as error:
        return fault_reply(call, RpcFault(RpcCode.NODE_UNHEALTHY, f"Node is unhealthy: {error.message}"))
    except Exception as error:
        log.error("call failed", method=call.method, exc_info=error)
        return fault_reply(call, RpcFault(RpcCode.INTERNAL, "Internal error"))
    return result_reply(call, result)
