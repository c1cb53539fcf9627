"""Names of certificate topics: `tm_metawatt_gc`, and by energy source, by country, and by both."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from certificates.bundle import source_word
from certificates.countries import COUNTRIES
from certificates.policy import Scope
from config.errors import BadRequest, ErrorCode

CERTIFICATES: Final = "tm_metawatt_gc"
_NAME: Final = re.compile(r"(?=.{1,50}\Z)tm_[a-z]+(?:_[a-z]+)*").fullmatch


def is_topic_name(name: str) -> bool:
    """BRC-87: `tm_`, then words of a to z joined by single underscores, at most 50 characters."""
    return _NAME(name) is not None


@dataclass(frozen=True, slots=True)
class TopicName:
    """A name and what it takes."""

    name: str
    scope: Scope


def certificate_topic(source: str | None = None, region: str | None = None) -> TopicName:
    """The topic of an energy source, a country (either case), both, or all certificates.

    `BadRequest(SETTINGS_INVALID)` when the source has no letters, the country is not one, or the name
    would be longer than BRC-87 allows.
    """
    word = None if source is None else source_word(source)
    country = None if region is None else region.upper()
    if word == "":
        raise _invalid(f"energy source {source!r} has no letters a to z")
    if country is not None and country not in COUNTRIES:
        raise _invalid(f"{region!r} is not a country by ISO 3166-1 alpha-2")
    name = "_".join(part for part in (CERTIFICATES, word, country and country.lower()) if part)
    if not is_topic_name(name):
        raise _invalid(f"{name} is not a topic name: over 50 characters")
    return TopicName(name, Scope(word, country))


def certificate_topics(sources: Iterable[str], regions: Iterable[str]) -> list[TopicName]:
    """All certificates, each source, each country, each pair; `BadRequest` also when two of them would
    have one name (the source `solar_de` and the source `solar` in `de`)."""
    sources, regions = tuple(sources), tuple(regions)
    topics = [certificate_topic()]
    topics += [certificate_topic(source) for source in sources]
    topics += [certificate_topic(None, region) for region in regions]
    topics += [certificate_topic(source, region) for source in sources for region in regions]
    seen: set[str] = set()
    for topic in topics:
        if topic.name in seen:
            raise _invalid(f"two topics would be named {topic.name}")
        seen.add(topic.name)
    return topics


def _invalid(message: str) -> BadRequest:
    return BadRequest(f"topics: {message}", ErrorCode.SETTINGS_INVALID)
