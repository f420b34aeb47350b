"""Which directories are versions, and which of them is the newest."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import BundleError
from holdfast.server.versions.source import OneBundle, VersionsDirectory
from holdfast.versions import is_version_name, natural

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 10**30), min_size=2), st.sampled_from(["v", "2026-", "", "run 3 of "]))
def test_numbers_count_as_numbers(numbers, prefix):
    names = [f"{prefix}{number}" for number in numbers]
    assert sorted(names, key=natural) == [f"{prefix}{number}" for number in sorted(numbers)]


@settings(max_examples=40)
@given(st.lists(NAMES, unique=True))
def test_every_two_names_have_an_order(names):
    ordered = sorted(names, key=natural)
    assert all(natural(a) < natural(b) for a, b in pairwise(ordered))


def test_only_directories_of_a_versions_name_are_versions(tmp_path: Path):
    for name in ("v10", "v9", ".v11", "_v12", "v13.tmp", "v14.partial", "v15~", "lost+found"):
        (tmp_path / name).mkdir()
    (tmp_path / "v16").write_text("a file")
    (tmp_path / "v17").symlink_to("nowhere")
    (tmp_path / "v2").symlink_to("v9")
    assert [place.name for place in VersionsDirectory(tmp_path).places()] == ["v10", "v9", "v2"]
    assert not is_version_name(".hidden")


def test_a_directory_that_holds_no_versions_is_refused(tmp_path: Path, tiny_bundle: Path):
    with pytest.raises(BundleError, match="--bundle"):
        VersionsDirectory(tiny_bundle).places()
    with pytest.raises(BundleError, match="absent"):
        VersionsDirectory(tmp_path / "absent").places()


def test_a_linked_bundle_is_what_the_link_leads_to(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "current").symlink_to("a")
    source = OneBundle(tmp_path / "current")
    assert [place.name for place in source.places()] == ["a"]
    (tmp_path / "next").symlink_to("b")
    (tmp_path / "next").rename(tmp_path / "current")
    assert [place.directory for place in source.places()] == [tmp_path / "b"]


def test_a_fingerprint_changes_with_what_lies_there(tmp_path: Path):
    place = OneBundle(tmp_path).places()[0]
    seen = {place.fingerprint()}
    (tmp_path / "a").write_text("one")
    seen.add(place.fingerprint())
    (tmp_path / "a").write_text("two!")
    seen.add(place.fingerprint())
    os.utime(tmp_path / "a", ns=(1, 1))
    seen.add(place.fingerprint())
    assert len(seen) == 4
    assert place.fingerprint() in seen
