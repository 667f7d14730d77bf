"""What tells a job from every other, and the file that keeps its record."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lib.core.jobs import OWN_KEY, JobKey, file_stem

DISK = JobKey("DiskSpace", "disk full")
KEYS = [
    DISK,
    JobKey("DiskSpace"),
    JobKey("Many", "One|http://x.example/a"),
    JobKey("HTTPServerChecker", "http home/web1"),
    JobKey.of_peer("friend"),
    JobKey.of_section("htpp x"),
    JobKey.of_section(""),
    JobKey.of_refused_file(Path("/srv/jobs/Open.py")),
    OWN_KEY,
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_a_key_comes_back_from_its_text(key):
    assert JobKey.parse(str(key)) == key


@pytest.mark.parametrize("text", ["", "disk full", "/disk full", "/"])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(ValueError, match="is not a job key"):
        JobKey.parse(text)


def test_a_key_says_what_it_stands_for():
    assert [str(one) for one in KEYS if one.is_check] == [
        "DiskSpace/disk full",
        "Many/One|http://x.example/a",
        "HTTPServerChecker/http home/web1",
        "PeerChecker/friend",
    ]
    assert [str(one) for one in KEYS if one.is_file] == ["DiskSpace/"]
    assert [one.identity for one in KEYS if one.is_section] == ["htpp x", ""]
    assert [one.identity for one in KEYS if one.is_refused_file] == [
        "/srv/jobs/Open.py"
    ]
    about = [JobKey("EmailChecker", "EmailChecker"), *KEYS]
    assert [str(one) for one in about if one.is_about_checker] == [
        "EmailChecker/EmailChecker",
        "PeerChecker/friend",
        "_checker/state",
    ]


def test_no_two_keys_share_a_file_and_each_has_the_words_of_its_own():
    stems = [file_stem(key) for key in KEYS]
    assert len({*stems}) == len(KEYS)
    assert all(re.fullmatch("[a-z0-9-]+-[0-9a-f]{10}", stem) for stem in stems)
    assert stems[0].startswith("disk-full-") and stems[1].startswith("diskspace-")
    assert file_stem(JobKey("X", "a b")) != file_stem(JobKey("X", "a-b"))
