"""Which lookup services a node hosts."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from config.errors import BadRequest, ErrorCode
from config.settings import Settings
from lookup.hosted import ENTRY_POINTS, check_services, hosted_lookup_services, provided_lookup_services
from lookup.metawatt import MetawattLookup
from overlay.lookup_service import LookupService


class Other(MetawattLookup):
    name = "ls_other"
    collections = ()


def provide(settings: Settings) -> list[LookupService]:
    return [Other(settings)]


def test_the_node_hosts_its_own() -> None:
    (service,) = hosted_lookup_services(Settings())
    assert service.name == service.metadata.name == "ls_metawatt"
    assert service.serves("tm_metawatt_gc")
    assert service.serves("tm_metawatt_gc_wind_dk")
    assert not service.serves("tm_metawatt_gcx")
    assert not service.serves("tm_metawatt_offers")


def test_packages_add_services(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("energy_package")
    module.provide = provide  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "energy_package", module)
    entry = EntryPoint("other", "energy_package:provide", ENTRY_POINTS)
    assert [service.name for service in provided_lookup_services(entry, Settings())] == ["ls_other"]
    entry = EntryPoint("broken", "energy_package:missing", ENTRY_POINTS)
    with pytest.raises(BadRequest, match="cannot provide") as caught:
        provided_lookup_services(entry, Settings())
    assert caught.value.code is ErrorCode.SETTINGS_INVALID


def test_names_and_collections_are_unique() -> None:
    own = MetawattLookup(Settings())
    check_services([own, Other(Settings())])
    with pytest.raises(BadRequest, match="two services are named ls_metawatt"):
        check_services([own, own])
    shared = type("Shared", (MetawattLookup,), {"name": "ls_shared"})(Settings())
    with pytest.raises(BadRequest, match="another's collection"):
        check_services([own, shared])
    nameless = type("Nameless", (Other,), {"name": "Metawatt"})(Settings())
    with pytest.raises(BadRequest, match="BRC-87"):
        check_services([nameless])
