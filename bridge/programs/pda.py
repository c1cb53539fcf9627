"""Addresses that GridTokenX's programs derive from seeds. Their IDLs do not declare them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from uuid import NAMESPACE_OID, uuid5

from solders.pubkey import Pubkey

from config.errors import BadRequest

MAX_SEED_BYTES: Final = 32
WINDOW_MS: Final = 900_000
"""Length of the window of a `gen_mint` record: a quarter of an hour, from a full one."""


class SeedTooLong(BadRequest):
    """A name from which an address is derived has more than 32 bytes."""


def token_info(energy_token: Pubkey) -> Pubkey:
    """The token's configuration, and its mint's authority."""
    return _derived(energy_token, b"token_info_2022")


def mint(energy_token: Pubkey) -> Pubkey:
    """The GRID mint, of Token-2022."""
    return _derived(energy_token, b"mint_2022")


def gen_mint(energy_token: Pubkey, meter: bytes, window_start_ms: int) -> Pubkey:
    """The record that a meter's window was minted; `meter` is `meter_bytes`."""
    return _derived(energy_token, b"gen_mint", meter, window_start_ms.to_bytes(8, "little", signed=True))


def meter_bytes(serial: str) -> bytes:
    """The 16 B by which energy_token knows a meter: the version 5 UUID of its serial among object identifiers,
    as GridTokenX's aggregator makes it, so that both meet the same record."""
    return uuid5(NAMESPACE_OID, serial).bytes


def registry(program: Pubkey) -> Pubkey:
    return _derived(program, b"registry")


def user(registry_program: Pubkey, owner: Pubkey) -> Pubkey:
    return _derived(registry_program, b"user", bytes(owner))


def meter(registry_program: Pubkey, owner: Pubkey, serial: str) -> Pubkey:
    """A meter's account in the registry; the serial has at most 32 B of UTF-8."""
    return _derived(registry_program, b"meter", bytes(owner), serial.encode())


def oracle_meter(oracle: Pubkey, serial: str) -> Pubkey:
    """What the oracle was told of a meter; the serial has at most 32 B of UTF-8."""
    return _derived(oracle, b"meter", serial.encode())


def erc_certificate(governance: Pubkey, certificate_id: str) -> Pubkey:
    return _derived(governance, b"erc_certificate", certificate_id.encode())


def rec_mint(governance: Pubkey) -> Pubkey:
    """The mint of renewable energy certificates: 6 decimals, one token is one MWh."""
    return _derived(governance, b"rec_mint")


def governance_config(governance: Pubkey) -> Pubkey:
    return _derived(governance, b"governance_config")


def event_authority(program: Pubkey) -> Pubkey:
    """Signs the calls to itself by which a program emits events through `emit_cpi!`."""
    return _derived(program, b"__event_authority")


@lru_cache(maxsize=4096)
def _derived(program: Pubkey, *seeds: bytes) -> Pubkey:
    if any(len(seed) > MAX_SEED_BYTES for seed in seeds):
        raise SeedTooLong
    return Pubkey.find_program_address(list(seeds), program)[0]
