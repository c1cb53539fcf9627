"""Anchor events of a transaction: a hint of what programs did, never the truth about tokens.

A log line says nothing of who wrote it but for its place: between a program's "invoke" and its "success". So
lines are followed as a stack, each entry whole (a memo's text may hold line breaks and look like anything),
and an event counts only when the program of its IDL is on top. Where the log was cut short, or does not nest,
nothing behind that place is believed: a long line may be missing that would have told of another program.

`emit_cpi!` leaves no line: its event is an inner instruction of the program to itself, which no truncation
loses.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from solders.pubkey import Pubkey

from bridge.programs import pda
from bridge.programs.borsh import BorshError
from bridge.programs.idl import Idl
from bridge.solana.rpc import InnerInstruction, SeenTransaction

_KEY: Final = "([1-9A-HJ-NP-Za-km-z]{32,44})"
_INVOKE: Final = re.compile(rf"Program {_KEY} invoke \[([1-9][0-9]{{0,2}})\]")
_SUCCESS: Final = re.compile(rf"Program {_KEY} success")
_FAILED: Final = re.compile(rf"Program {_KEY} failed: .*", re.DOTALL)
_DATA: Final = re.compile(r"Program data: ([A-Za-z0-9+/]+={0,2})")
_TRUNCATED: Final = "Log truncated"

_CPI_TAG: Final = bytes.fromhex("e445a52e51cb9a1d")  # sha256("anchor:event")[:8], its bytes reversed


@dataclass(frozen=True, slots=True)
class Event:
    """`fields` are as `borsh.decode` gives them. `depth` is the program's height on the stack, 1 for one that
    the transaction called itself."""

    program: Pubkey
    name: str
    fields: Mapping[str, Any]
    depth: int


@dataclass(frozen=True, slots=True)
class Events:
    """In the order in which they were emitted, those of `emit_cpi!` last. With `is_truncated`, or any of
    `problems`, there may have been more."""

    found: tuple[Event, ...]
    is_truncated: bool
    problems: tuple[str, ...]


@dataclass(slots=True)
class _Frame:
    program: str
    events: list[Event]


class _Unnested(Exception):
    """The log does not nest."""


def events(seen: SeenTransaction, idls: Mapping[Pubkey, Idl]) -> Events:
    """The events of the programs in `idls`, by where they are deployed; none of a transaction that failed."""
    if seen.error is not None:
        return Events((), is_truncated=False, problems=())
    logged = logged_events(seen.logs or (), idls)
    problems = list(logged.problems) if seen.logs is not None else ["The cluster kept no log"]
    called = _called_events(seen, idls, problems)
    return Events((*logged.found, *called), logged.is_truncated, tuple(problems))


def logged_events(logs: Sequence[str], idls: Mapping[Pubkey, Idl]) -> Events:
    """Those that a transaction's log tells of. What a program emitted before it failed is left out."""
    log = _Log(idls)
    is_truncated = False
    try:
        for entry in logs:
            if entry == _TRUNCATED:
                is_truncated = True
                break
            log.read(entry)
    except _Unnested as fault:
        log.problems.append(str(fault))
    return Events(tuple(log.settled()), is_truncated, tuple(log.problems))


class _Log:
    """Follows who is running, entry by entry. The lowest frame is the transaction itself."""

    def __init__(self, idls: Mapping[Pubkey, Idl]) -> None:
        self._idls = {str(program): (program, idl) for program, idl in idls.items()}
        self._stack = [_Frame("", [])]
        self.problems: list[str] = []

    def read(self, entry: str) -> None:
        if invoke := _INVOKE.fullmatch(entry):
            self._invoke(invoke[1], int(invoke[2]))
        elif success := _SUCCESS.fullmatch(entry):
            events = self._leave(success[1])
            self._stack[-1].events += events
        elif failed := _FAILED.fullmatch(entry):
            self._leave(failed[1])
        elif data := _DATA.fullmatch(entry):
            self._data(data[1])

    def settled(self) -> list[Event]:
        """What was emitted by programs that succeeded, or whose end the log does not tell."""
        return [event for frame in self._stack for event in frame.events]

    def _invoke(self, program: str, depth: int) -> None:
        if depth != len(self._stack):
            raise _Unnested(f"{program} is invoked at depth {depth}, {len(self._stack)} is next")
        self._stack.append(_Frame(program, []))

    def _leave(self, program: str) -> list[Event]:
        if self._stack[-1].program != program:
            raise _Unnested(f"{program} ends, but {self._stack[-1].program or 'no program'} is running")
        return self._stack.pop().events

    def _data(self, text: str) -> None:
        frame = self._stack[-1]
        if frame.program not in self._idls:
            return
        program, idl = self._idls[frame.program]
        try:
            event = _decoded(program, idl, a2b_base64(text, strict_mode=True), len(self._stack) - 1)
        except (Base64Error, BorshError) as fault:
            self.problems.append(f"An event of {frame.program} cannot be read: {fault}")
            return
        if event is not None:
            frame.events.append(event)


def _decoded(program: Pubkey, idl: Idl, data: bytes, depth: int) -> Event | None:
    found = idl.event(data)
    return Event(program, *found, depth) if found else None


def _called_events(seen: SeenTransaction, idls: Mapping[Pubkey, Idl], problems: list[str]) -> list[Event]:
    found = []
    for outer, instruction in enumerate(seen.transaction.message.instructions):
        stack = [instruction.program_id_index]
        for inner in seen.inner.get(outer, ()):
            caller = _caller(stack, inner)
            if caller == inner.program_index and (event := _called_event(seen, inner, idls, problems)):
                found.append(event)
    return found


def _caller(stack: list[int], inner: InnerInstruction) -> int | None:
    """Which program called an inner instruction, as an index into the accounts; `stack` is brought up to it.
    None where the cluster did not tell its height."""
    height = inner.stack_height
    if height is None or not 2 <= height <= len(stack) + 1:
        return None
    del stack[height - 1 :]
    stack.append(inner.program_index)
    return stack[-2]


def _called_event(
    seen: SeenTransaction, inner: InnerInstruction, idls: Mapping[Pubkey, Idl], problems: list[str]
) -> Event | None:
    """A program's call to itself, with its event authority as the only account, which it alone can sign for."""
    keys = seen.account_keys
    indexes = (inner.program_index, *inner.accounts)
    if not inner.data.startswith(_CPI_TAG) or not all(0 <= at < len(keys) for at in indexes):
        return None
    program = keys[inner.program_index]
    if program not in idls or [keys[at] for at in inner.accounts] != [pda.event_authority(program)]:
        return None
    try:
        return _decoded(program, idls[program], inner.data[len(_CPI_TAG) :], inner.stack_height or 1)
    except BorshError as fault:
        problems.append(f"An event of {program} cannot be read: {fault}")
        return None
