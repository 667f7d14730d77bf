"""Markdown pages as the tests of documents read them."""

from __future__ import annotations

import re


def flat(text: str) -> str:
    """Return the text with every run of spaces and line ends as one space."""
    return " ".join(text.split())


def part(text: str, title: str) -> str:
    """Return what stands below a heading, up to the next one."""
    found = re.search(rf"(?ms)^#+ {re.escape(title)}$(.*?)(?=^#+ |\Z)", text)
    assert found, f"no heading {title!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table in the text, without the headings."""
    lines = re.findall(r"(?m)^\| (.*) \|$\n(?!\|---)", f"{text}\n")
    return [line.split(" | ") for line in lines]


def blocks(text: str, language: str = "") -> list[str]:
    """Return the fenced blocks in a language."""
    fenced = re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", text)
    return [inside for found, inside in fenced if found == language]


def words(cell: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def anchors(text: str) -> set[str]:
    """Return what a link to a heading of the page may end in."""
    found = re.findall(r"(?m)^#+ (.*)$", text)
    return {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in found}
