"""`make` sets up from lock files that are in step with pyproject.toml."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("requirements.lock", "requirements-build.lock", "requirements-dev.lock")


def pins(name: str) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", (ROOT / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in found}


def wanted(name: str) -> list[str]:
    build = PROJECT["dependency-groups"]["build"]
    runtime = PROJECT["project"]["dependencies"]
    if name == "requirements-build.lock":
        return build
    if name == "requirements.lock":
        return runtime
    return [*runtime, *build, *PROJECT["project"]["optional-dependencies"]["dev"]]


@pytest.mark.parametrize("name", LOCKS)
def test_every_dependency_is_pinned_within_its_bounds(name):
    pinned = pins(name)
    for line in wanted(name):
        requirement = Requirement(line)
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{line}: run make lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{line}, not {version}: run make lock"


def test_the_locks_agree():
    everything = pins("requirements-dev.lock")
    for name in LOCKS:
        assert pins(name).items() <= everything.items()


@pytest.mark.parametrize("name", LOCKS)
def test_lock_files_have_hashes_and_no_addresses(name):
    text = (ROOT / name).read_text()
    hashed = re.findall(r"^[a-z0-9._-]+==\S+ (?:; .+ )?\\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(hashed) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE))
    assert not re.search(r"https?:|file:|--(extra-)?index|--find-links|(?m:^[./])", text)


def test_the_build_group_is_what_the_build_system_requires():
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-C", ROOT, "--no-print-directory", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@needs_make
def test_make_alone_tells_what_there_is():
    text = make().stdout
    for target in ("demo", "serve", "test", "check", "lock", "settings"):
        assert f"make {target}" in text


@needs_make
def test_an_old_python_is_told_before_anything_is_made(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    done = make("setup", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert "METAWATT needs Python 3.11 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()
