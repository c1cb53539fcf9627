"""The lookup services that a node hosts: its own, and those of installed packages.

A package adds lookup services through the entry point group `metawatt.lookup_services`: a callable that takes the
node's settings and gives a sequence of `overlay.lookup_service.LookupService`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from config.errors import BadRequest, ErrorCode
from config.settings import Settings
from lookup.metawatt import MetawattLookup
from overlay.lookup_service import LookupService

ENTRY_POINTS: Final = "metawatt.lookup_services"
_NAME: Final = re.compile(r"(?=.{1,50}\Z)ls_[a-z]+(?:_[a-z]+)*").fullmatch


def hosted_lookup_services(settings: Settings) -> list[LookupService]:
    """The lookup services that the settings and the installed packages give, each name once.

    Raises `BadRequest(SETTINGS_INVALID)` when a name is not one by BRC-87, when a name or a collection comes
    twice, or when a package's provider fails.
    """
    hosted: list[LookupService] = [MetawattLookup(settings)]
    for provider in entry_points(group=ENTRY_POINTS):
        hosted += provided_lookup_services(provider, settings)
    check_services(hosted)
    return hosted


def provided_lookup_services(provider: EntryPoint, settings: Settings) -> list[LookupService]:
    """The lookup services of one entry point."""
    try:
        return list(provider.load()(settings))
    except Exception as error:
        raise _invalid(f"package {provider.value!r} cannot provide its services: {error}") from error


def check_services(services: Iterable[LookupService]) -> None:
    """`BadRequest(SETTINGS_INVALID)` unless names are BRC-87's, and names and collections are unique."""
    names: set[str] = set()
    collections: set[str] = set()
    for service in services:
        if _NAME(service.name) is None:
            raise _invalid(f"{service.name!r} is not a lookup service's name (BRC-87)")
        if service.name in names:
            raise _invalid(f"two services are named {service.name}")
        shared = collections & {collection.name for collection in service.collections}
        if shared:
            raise _invalid(f"{service.name} declares another's collection {min(shared)}")
        names.add(service.name)
        collections |= {collection.name for collection in service.collections}


def _invalid(message: str) -> BadRequest:
    return BadRequest(f"lookup services: {message}", ErrorCode.SETTINGS_INVALID)
