"""A small assembler for Solana programs: sBPF version 0 in an ELF that the runtime loads, with no toolchain.

A program is a list of operations; `call` names a syscall, and the loader puts its address in.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

R = range(11)
"""Registers: r1 holds the input at the start, r10 the end of the stack frame, r0 the result."""

_TEXT_AT = 64 + 3 * 56


@dataclass(frozen=True)
class Operation:
    opcode: int
    target: int = 0
    source: int = 0
    offset: int = 0
    value: int = 0
    syscall: str | None = None

    def encoded(self) -> bytes:
        return struct.pack("<BBhi", self.opcode, self.target | self.source << 4, self.offset, self.value)


def load(target: int, source: int, offset: int) -> Operation:
    """target = the u64 at source + offset"""
    return Operation(0x79, target, source, offset)


def store(target: int, offset: int, source: int) -> Operation:
    """the u64 at target + offset = source"""
    return Operation(0x7B, target, source, offset)


def move(target: int, source: int) -> Operation:
    return Operation(0xBF, target, source)


def put(target: int, value: int) -> Operation:
    return Operation(0xB7, target, value=value)


def add(target: int, value: int) -> Operation:
    return Operation(0x07, target, value=value)


def add_register(target: int, source: int) -> Operation:
    return Operation(0x0F, target, source)


def mask(target: int, value: int) -> Operation:
    """target &= value, with the value's sign extended to 64 bits"""
    return Operation(0x57, target, value=value)


def call(syscall: str) -> Operation:
    return Operation(0x85, 0, 1, value=-1, syscall=syscall)


EXIT = Operation(0x95)


def assemble(operations: list[Operation]) -> bytes:
    """The ELF. Sections follow each other at the addresses that they are loaded to."""
    text = b"".join(operation.encoded() for operation in operations)
    syscalls = sorted({operation.syscall for operation in operations if operation.syscall})
    names, name_at = _strings(syscalls)
    symbols = bytes(24) + b"".join(struct.pack("<IBBHQQ", name_at[name], 0x10, 0, 0, 0, 0) for name in syscalls)
    relocations = b"".join(
        struct.pack("<QQ", _TEXT_AT + 8 * place, (syscalls.index(operation.syscall) + 1) << 32 | 10)
        for place, operation in enumerate(operations)
        if operation.syscall
    )
    dynamic_at = _TEXT_AT + len(text)
    symbols_at = dynamic_at + 16 * 8
    names_at = symbols_at + len(symbols)
    relocations_at = names_at + len(names)
    dynamic = b"".join(
        struct.pack("<qQ", tag, value)
        for tag, value in (
            (17, relocations_at),  # DT_REL, its size and that of an entry
            (18, len(relocations)),
            (19, 16),
            (6, symbols_at),  # DT_SYMTAB and the size of an entry
            (11, 24),
            (5, names_at),  # DT_STRTAB and its size
            (10, len(names)),
            (0, 0),
        )
    )
    sections = [
        _Section(".text", 1, 6, text),
        _Section(".dynamic", 6, 2, dynamic, link=4, entry=16),
        _Section(".dynsym", 11, 2, symbols, link=4, info=1, entry=24),
        _Section(".dynstr", 3, 2, names),
        _Section(".rel.dyn", 9, 2, relocations, link=3, entry=16),
    ]
    loaded = [(1, 5, _TEXT_AT, len(text)), (1, 4, symbols_at, relocations_at + len(relocations) - symbols_at)]
    return _linked(sections, [*loaded, (2, 4, dynamic_at, len(dynamic))])


@dataclass(frozen=True)
class _Section:
    name: str
    kind: int
    flags: int
    content: bytes
    link: int = 0
    info: int = 0
    entry: int = 0


def _strings(names: list[str]) -> tuple[bytes, dict[str, int]]:
    content, at = b"\0", {}
    for name in names:
        at[name] = len(content)
        content += name.encode() + b"\0"
    return content.ljust(-len(content) % 8 + len(content), b"\0"), at


def _linked(sections: list[_Section], segments: list[tuple[int, int, int, int]]) -> bytes:
    section_names, name_at = _strings([*(section.name for section in sections), ".shstrtab"])
    body, headers, at = b"", [bytes(64)], _TEXT_AT
    for section in [*sections, _Section(".shstrtab", 3, 0, section_names)]:
        address = at if section.flags else 0
        fields = (name_at[section.name], section.kind, section.flags, address, at, len(section.content))
        headers.append(struct.pack("<IIQQQQIIQQ", *fields, section.link, section.info, 8, section.entry))
        body, at = body + section.content, at + len(section.content)
    start = b"\x7fELF\2\1\1".ljust(16, b"\0")
    start += struct.pack(
        "<HHIQQQIHHHHHH", 3, 247, 1, _TEXT_AT, 64, at, 0, 64, 56, 3, 64, len(headers), len(headers) - 1
    )
    programs = b"".join(
        struct.pack("<IIQQQQQQ", kind, flags, where, where, where, size, size, 8)
        for kind, flags, where, size in segments
    )
    return start + programs + body + b"".join(headers)


def echo() -> bytes:
    """A program without accounts that logs its instruction's data, as `emit!` does: `Program data: …`."""
    return assemble(
        [
            load(2, 1, 8),  # the length of the data, which follow the count of accounts, 0
            move(3, 1),
            add(3, 16),
            store(10, -16, 3),
            store(10, -8, 2),
            *_LOG_SLICE,
        ]
    )


def relay() -> bytes:
    """A program with one account, a program: it calls that with its own data, and no accounts, and then logs
    the data itself."""
    return assemble(
        [
            load(3, 1, 88),  # the length of the account's data, which begin at 96
            add_register(3, 1),
            add(3, 96 + 10240 + 7),  # room to grow, and up to a multiple of 8
            mask(3, -8),
            add(3, 8),  # rent epoch
            load(4, 3, 0),
            add(3, 8),
            store(10, -16, 3),
            store(10, -8, 4),
            move(5, 1),
            add(5, 16),
            store(10, -56, 5),  # the instruction: program, accounts, their count, data, their length
            store(10, -48, 5),
            put(5, 0),
            store(10, -40, 5),
            store(10, -32, 3),
            store(10, -24, 4),
            move(1, 10),
            add(1, -56),
            move(2, 10),
            put(3, 0),
            move(4, 10),
            put(5, 0),
            call("sol_invoke_signed_c"),
            *_LOG_SLICE,
        ]
    )


_LOG_SLICE = [move(1, 10), add(1, -16), put(2, 1), call("sol_log_data"), put(0, 0), EXIT]
"""Logs the slice whose address and length are at the end of the stack frame."""
