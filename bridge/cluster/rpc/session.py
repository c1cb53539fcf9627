"""One WebSocket connection: its subscriptions, and its calls to begin and to end them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from bridge.cluster.rpc.account_methods import account_filter
from bridge.cluster.rpc.account_views import account_format
from bridge.cluster.rpc.context import Method, Methods
from bridge.cluster.rpc.faults import invalid
from bridge.cluster.rpc.limits import SUBSCRIPTIONS_MOST
from bridge.cluster.rpc.notices import Notices
from bridge.cluster.rpc.params import Config, Params, address
from bridge.cluster.rpc.service import answer
from bridge.cluster.rpc.subscription import (
    Deliver,
    OfAccount,
    OfLogs,
    OfProgram,
    OfRoots,
    OfSignature,
    OfSlots,
    Subscription,
    Topic,
)

_ALL_LOGS: Final = ("all", "allWithVotes")

Read: TypeAlias = Callable[[Params], tuple[Topic, Config]]


class Session:
    """A connection. `deliver` takes replies and notices in their order, and never waits."""

    def __init__(self, notices: Notices, deliver: Deliver) -> None:
        self._notices = notices
        self._deliver = deliver
        self._mine: dict[int, Subscription] = {}
        self._new: list[Subscription] = []
        self._methods: Methods = {
            **{f"{kind}Subscribe": self._subscribing(kind, read) for kind, read in _READERS.items()},
            **{f"{kind}Unsubscribe": self._unsubscribe for kind in _READERS},
        }

    async def take(self, message: bytes | str) -> None:
        """A message of the client: reply to it, then tell what is past of what it subscribed to."""
        reply = await answer(self._methods, message)
        if reply:
            self._deliver(reply)
        begun, self._new = self._new, []
        for subscription in begun:
            await self._notices.tell_past(subscription)

    def end(self) -> None:
        """The connection is gone, and its subscriptions with it."""
        for subscription in self._mine.values():
            self._notices.remove(subscription)
        self._mine.clear()

    def _subscribing(self, kind: str, read: Read) -> Method:
        def subscribe(params: Params) -> int:
            topic, config = read(params)
            self._make_room()
            begun = self._notices.add(f"{kind}Notification", topic, config.commitment, self._deliver)
            self._mine[begun.number] = begun
            self._new.append(begun)
            return begun.number

        return subscribe

    def _make_room(self) -> None:
        if len(self._mine) < SUBSCRIPTIONS_MOST:
            return
        # Those of signatures end by themselves, when they are told.
        self._mine = {number: each for number, each in self._mine.items() if self._notices.has(each)}
        if len(self._mine) >= SUBSCRIPTIONS_MOST:
            raise invalid(f"A connection may have at most {SUBSCRIPTIONS_MOST} subscriptions")

    def _unsubscribe(self, params: Params) -> bool:
        subscription = self._mine.pop(params.integer(0), None)
        if subscription is None or not self._notices.remove(subscription):
            raise invalid("Invalid subscription id.")
        return True


def _of_account(params: Params) -> tuple[Topic, Config]:
    config = params.config(1)
    return OfAccount(params.address(0), account_format(config)), config


def _of_program(params: Params) -> tuple[Topic, Config]:
    config = params.config(1)
    return OfProgram(params.address(0), account_format(config), account_filter(config)), config


def _of_signature(params: Params) -> tuple[Topic, Config]:
    config = params.config(1)
    return OfSignature(params.signature(0), config.flag("enableReceivedNotification")), config


def _of_logs(params: Params) -> tuple[Topic, Config]:
    return OfLogs(params.required(0, _mentioned)), params.config(1)


def _of_slots(params: Params) -> tuple[Topic, Config]:
    return OfSlots(), Config({})


def _of_roots(params: Params) -> tuple[Topic, Config]:
    return OfRoots(), Config({})


def _mentioned(value: Any) -> Any:
    """The address that logs are wanted of, None for all."""
    if isinstance(value, str) and value in _ALL_LOGS:
        return None
    mentions = value.get("mentions") if isinstance(value, dict) else None
    if not isinstance(mentions, list) or len(mentions) != 1:
        raise invalid("Invalid Request: Only 1 address supported")
    return address(mentions[0])


_READERS: Final[dict[str, Read]] = {
    "account": _of_account,
    "logs": _of_logs,
    "program": _of_program,
    "root": _of_roots,
    "signature": _of_signature,
    "slot": _of_slots,
}
