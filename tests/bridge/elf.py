"""A small assembler for Solana programs: sBPF version 0 in an ELF that the runtime loads, with no toolchain.

A program is a list of operations and labels; `call` names a syscall, and the loader puts its address in.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

# Registers go by number: 1 holds the input at the start, 10 the end of the stack frame, 0 the result.

_TEXT_AT = 64 + 3 * 56


@dataclass(frozen=True)
class Operation:
    opcode: int
    target: int = 0
    source: int = 0
    offset: int = 0
    value: int = 0
    syscall: str | None = None
    label: str | None = None

    def encoded(self) -> bytes:
        return struct.pack("<BBhi", self.opcode, self.target | self.source << 4, self.offset, self.value)


@dataclass(frozen=True)
class Label:
    name: str


def load(target: int, source: int, offset: int) -> Operation:
    """target = the u64 at source + offset"""
    return Operation(0x79, target, source, offset)


def store(target: int, offset: int, source: int) -> Operation:
    """the u64 at target + offset = source"""
    return Operation(0x7B, target, source, offset)


def load_byte(target: int, source: int, offset: int) -> Operation:
    return Operation(0x71, target, source, offset)


def store_byte(target: int, offset: int, source: int) -> Operation:
    return Operation(0x73, target, source, offset)


def jump(label: str) -> Operation:
    return Operation(0x05, label=label)


def jump_if(register: int, value: int, label: str) -> Operation:
    return Operation(0x15, register, value=value, label=label)


def jump_unless(register: int, value: int, label: str) -> Operation:
    return Operation(0x55, register, value=value, label=label)


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


def assemble(program: list[Operation | Label]) -> bytes:
    """The ELF. Sections follow each other at the addresses that they are loaded to."""
    operations = _resolved(program)
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


def _resolved(program: list[Operation | Label]) -> list[Operation]:
    """Without labels, and with the distances of jumps."""
    places: dict[str, int] = {}
    operations: list[Operation] = []
    for one in program:
        if isinstance(one, Label):
            places[one.name] = len(operations)
        else:
            operations.append(one)
    return [
        replace(one, offset=places[one.label] - place - 1) if one.label else one
        for place, one in enumerate(operations)
    ]


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


# Where things are in the stack frame of `generation_minter`, from its end.
_ACCOUNTS, _INFOS, _METAS, _DATA, _INSTRUCTION = -256, -512, -576, -592, -640
_SEED, _BUMP, _SEEDS, _SIGNERS = -672, -656, -704, -720

# Where things are in an account of the input.
_KEY, _OWNER, _LAMPORTS, _LENGTH, _CONTENT = 8, 40, 72, 80, 88

_MINT, _TOKEN_INFO, _DESTINATION, _RECORD = 0, 1, 2, 4
_RECORD_AMOUNT, _RECORD_MINTED = 8 + 16 + 8, 8 + 16 + 8 + 8


def generation_minter(bump: int) -> bytes:
    """Stands in for energy_token's mint_generation: with its accounts and arguments, it mints by the token
    program, signed for by the token_info address (of that bump), and marks the record; where the record is
    marked, it does nothing. It checks nothing, and does not make the record."""
    return assemble(
        [
            *_accounts_found(),  # register 6: the length of the data, which follow
            load(9, 10, _ACCOUNTS + 8 * _RECORD),
            load_byte(2, 9, _CONTENT + _RECORD_MINTED),
            jump_if(2, 1, "end"),
            load(7, 6, 8 + 32),  # the amount
            put(2, 7),  # MintTo
            store_byte(10, _DATA, 2),
            store(10, _DATA + 1, 7),
            *_account_given(0, _MINT, is_writable=1, is_signer=0),
            *_account_given(1, _DESTINATION, is_writable=1, is_signer=0),
            *_account_given(2, _TOKEN_INFO, is_writable=0, is_signer=1),
            *_bytes_put(_SEED, b"token_info_2022"),
            *_bytes_put(_BUMP, bytes([bump])),
            *_slice_put(_SEEDS, _SEED, 15),
            *_slice_put(_SEEDS + 16, _BUMP, 1),
            *_slice_put(_SIGNERS, _SEEDS, 2),
            load(2, 10, _ACCOUNTS + 8 * 8),  # the token program's account
            add(2, _KEY),
            store(10, _INSTRUCTION, 2),
            *_slice_put(_INSTRUCTION + 8, _METAS, 3),
            *_slice_put(_INSTRUCTION + 24, _DATA, 9),
            *_address(1, _INSTRUCTION),
            *_address(2, _INFOS),
            put(3, 3),
            *_address(4, _SIGNERS),
            put(5, 1),
            call("sol_invoke_signed_c"),
            store(9, _CONTENT + _RECORD_AMOUNT, 7),
            put(2, 1),
            store_byte(9, _CONTENT + _RECORD_MINTED, 2),
            Label("end"),
            put(0, 0),
            EXIT,
        ]
    )


def _accounts_found() -> list[Operation | Label]:
    """Puts the addresses of the input's accounts into the stack frame. One that was there before takes 8
    bytes, of which the first is its number; another one begins with 255."""
    return [
        load(7, 1, 0),
        move(6, 1),
        add(6, 8),
        *_address(8, _ACCOUNTS),
        Label("next"),
        jump_if(7, 0, "found"),
        store(8, 0, 6),
        add(8, 8),
        add(7, -1),
        load_byte(2, 6, 0),
        jump_unless(2, 255, "known"),
        load(2, 6, _LENGTH),
        add_register(6, 2),
        add(6, _CONTENT + 10240 + 7),
        mask(6, -8),
        Label("known"),
        add(6, 8),
        jump("next"),
        Label("found"),
    ]


def _account_given(place: int, number: int, *, is_writable: int, is_signer: int) -> list[Operation | Label]:
    """Hands an account of the input on, as the instruction's account at `place`."""
    info, meta = _INFOS + 56 * place, _METAS + 16 * place
    found = [load(2, 10, _ACCOUNTS + 8 * number)]
    for at, offset in ((0, _KEY), (8, _LAMPORTS), (24, _CONTENT), (32, _OWNER)):
        found += [move(3, 2), add(3, offset), store(10, info + at, 3)]
    return [
        *found,
        load(3, 2, _LENGTH),
        store(10, info + 16, 3),
        put(3, 0),
        store(10, info + 40, 3),
        load_byte(3, 2, 1),
        store_byte(10, info + 48, 3),
        load_byte(3, 2, 2),
        store_byte(10, info + 49, 3),
        put(3, 0),
        store_byte(10, info + 50, 3),
        load(3, 10, info),
        store(10, meta, 3),
        put(3, is_writable),
        store_byte(10, meta + 8, 3),
        put(3, is_signer),
        store_byte(10, meta + 9, 3),
    ]


def _address(register: int, offset: int) -> list[Operation | Label]:
    return [move(register, 10), add(register, offset)]


def _slice_put(at: int, offset: int, length: int) -> list[Operation | Label]:
    """The address of something in the stack frame, and its length."""
    return [*_address(2, offset), store(10, at, 2), put(2, length), store(10, at + 8, 2)]


def _bytes_put(at: int, content: bytes) -> list[Operation | Label]:
    found: list[Operation | Label] = []
    for place, byte in enumerate(content):
        found += [put(2, byte), store_byte(10, at + place, 2)]
    return found
