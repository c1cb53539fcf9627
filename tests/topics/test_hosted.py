"""Which topics a node hosts, and what it believes."""

from __future__ import annotations

from fractions import Fraction
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from config.errors import BadRequest, ErrorCode
from config.settings import Settings
from overlay.keys import PrivateKey
from topics import hosted
from topics.hosted import hosted_topics, policy_of
from topics.names import certificate_topic

NODE = PrivateKey.from_int(7).public
ISSUER = PrivateKey.from_int(8).public


def settings(network: str = "dev", **topics: Any) -> Settings:
    return Settings.model_validate({"node": {"network": network, "name": "here"}, "topics": topics})


def test_hosted_by_default() -> None:
    topics = hosted_topics(settings(), NODE)
    assert len(topics) == 1 + 3 + 5 + 15
    assert "tm_metawatt_gc_solar_pv_de" in {topic.name for topic in topics}
    for topic in topics:
        assert topic.metadata.name == topic.name
        assert topic.documentation.startswith(f"# `{topic.name}`")


def test_documentation_names_the_issuers() -> None:
    listed = [{"identity_key": ISSUER.hex(), "name": "Danish Body", "regions": ["DK"]}]
    topics = {topic.name: topic for topic in hosted_topics(settings("test", issuers=listed), NODE)}
    assert f"- Danish Body, `{ISSUER.hex()}`, for DK" in topics["tm_metawatt_gc"].documentation
    assert "Danish Body" not in topics["tm_metawatt_gc_de"].documentation
    assert "None yet" in topics["tm_metawatt_gc_de"].documentation
    assert "from solar pv issued in DE" in topics["tm_metawatt_gc_solar_pv_de"].metadata.short_description


@pytest.mark.parametrize(("network", "trusted"), [("dev", True), ("test", False), ("main", False)])
def test_the_node_issues_on_the_dev_network_only(network: str, trusted: bool) -> None:
    assert policy_of(settings(network), NODE).trusts(NODE, "DE") is trusted


def test_policy() -> None:
    policy = policy_of(
        settings(
            "main",
            issuers=[{"identity_key": ISSUER.hex(), "name": "Danish Body", "regions": ["dk"]}],
            bridge_keys=[NODE.hex()],
            accept_unissued=True,
            technology_margins={"hydro": 1.5},
        ),
        NODE,
    )
    assert policy.trusts(ISSUER, "DK")
    assert policy.trusts(ISSUER, None)
    assert not policy.trusts(ISSUER, "DE")
    assert policy.bridge_keys == {NODE}
    assert policy.accept_unissued
    assert (policy.margin("hydro"), policy.margin("wind")) == (Fraction(3, 2), Fraction(11, 10))


@pytest.mark.parametrize(
    "topics",
    [
        {"issuers": [{"identity_key": "02" + "ff" * 32, "name": "x"}]},
        {"bridge_keys": ["05" + "11" * 32]},
        {"capacity_margin": float("inf")},
        {"regions": ["atlantis"]},
        {"sources": ["de"], "regions": ["de"]},
    ],
)
def test_settings_that_stop_the_start(topics: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        hosted_topics(settings(**topics), NODE)
    assert caught.value.code is ErrorCode.SETTINGS_INVALID


def provide(settings: object) -> list[Any]:
    policy = policy_of(Settings(), NODE)
    return [hosted.CertificateTopic(certificate_topic("geothermal"), policy)]


def provide_twice(settings: object) -> list[Any]:
    return [*provide(settings), *provide(settings)]


def provide_nothing_good(settings: object) -> list[Any]:
    raise RuntimeError("no disk")


def installed(monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "a_package", sys.modules[__name__])
    entry = EntryPoint("extra", f"a_package:{provider}", hosted.ENTRY_POINTS)
    monkeypatch.setattr(hosted, "entry_points", lambda group: [entry] if group == "metawatt.topics" else [])


def test_topics_of_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "provide")
    assert hosted_topics(settings(), NODE)[-1].name == "tm_metawatt_gc_geothermal"


@pytest.mark.parametrize(
    ("provider", "reason"),
    [("provide_twice", "two topic managers"), ("provide_nothing_good", "no disk"), ("missing", "cannot provide")],
)
def test_packages_that_stop_the_start(monkeypatch: pytest.MonkeyPatch, provider: str, reason: str) -> None:
    installed(monkeypatch, provider)
    with pytest.raises(BadRequest, match=reason):
        hosted_topics(settings(), NODE)
