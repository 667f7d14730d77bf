"""The pages of docs/: what they promise, held against the code."""

from __future__ import annotations

from pathlib import Path

from lib.cli.settings_page import settings_page

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_of_settings_is_what_the_tables_say():
    assert (DOCS / "settings.md").read_text(
        "utf-8"
    ) == settings_page(), "stale: see make docs"
