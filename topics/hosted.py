"""The topics that a node hosts: its certificate topics, and those of installed packages.

A package adds topics through the entry point group `metawatt.topics`; `docs/WRITING_A_TOPIC.md` shows how.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from certificates.policy import Issuer, Policy
from config.errors import BadRequest, ErrorCode
from config.settings import IssuerSettings, Settings
from overlay.keys import is_public_key
from overlay.topic import TopicManager
from topics.certificates import CertificateTopic
from topics.names import certificate_topics, is_topic_name

ENTRY_POINTS: Final = "metawatt.topics"


def hosted_topics(settings: Settings, node_identity: bytes) -> list[TopicManager]:
    """The topic managers that the settings and the installed packages give, each name once.

    `node_identity` is the node's identity key, 33 bytes: a trusted issuer on the dev network. Raises
    `BadRequest(SETTINGS_INVALID)` when a name is not a topic name or comes twice, when a key is not on the
    curve, or when a package's provider fails.
    """
    policy = policy_of(settings, node_identity)
    names = certificate_topics(settings.topics.sources, settings.topics.regions)
    hosted: list[TopicManager] = [CertificateTopic(name, policy) for name in names]
    for provider in entry_points(group=ENTRY_POINTS):
        hosted += provided_topics(provider, settings)
    _check_names(hosted)
    return hosted


def policy_of(settings: Settings, node_identity: bytes) -> Policy:
    """What the node believes, from its settings."""
    topics = settings.topics
    issuers = [_issuer(each) for each in topics.issuers]
    if settings.node.network == "dev":
        issuers.append(Issuer(node_identity, settings.node.name))
    bridges = [_key(key) for key in topics.bridge_keys]
    if settings.mirrors:
        bridges.append(node_identity)
    return Policy(
        tuple(issuers),
        frozenset(bridges),
        topics.accept_unissued,
        exact(topics.capacity_margin),
        {technology: exact(margin) for technology, margin in topics.technology_margins.items()},
    )


def exact(margin: float) -> Fraction:
    """The decimal that a person wrote: 1.1 is 11/10, not the float next to it."""
    try:
        return Fraction(str(margin))
    except ValueError as error:
        raise _invalid(f"{margin} is not a capacity margin") from error


def provided_topics(provider: EntryPoint, settings: Settings) -> list[TopicManager]:
    """The topic managers of one entry point."""
    try:
        return list(provider.load()(settings))
    except Exception as error:
        raise _invalid(f"package {provider.value!r} cannot provide its topics: {error}") from error


def _issuer(settings: IssuerSettings) -> Issuer:
    regions = frozenset(region.upper() for region in settings.regions)
    return Issuer(_key(settings.identity_key), settings.name, regions)


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if not is_public_key(key):
        raise _invalid(f"{text} is not a public key")
    return key


def _check_names(topics: Iterable[TopicManager]) -> None:
    seen: set[str] = set()
    for topic in topics:
        if not is_topic_name(topic.name):
            raise _invalid(f"{topic.name!r} is not a topic name (BRC-87)")
        if topic.name in seen:
            raise _invalid(f"two topic managers are named {topic.name}")
        seen.add(topic.name)


def _invalid(message: str) -> BadRequest:
    return BadRequest(f"topics: {message}", ErrorCode.SETTINGS_INVALID)
