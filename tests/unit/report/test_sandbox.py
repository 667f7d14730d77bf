"""Templates of somebody's own: what they may do, and what is said of one that fails."""

from __future__ import annotations

import pytest

from lib.report import owntemplates, sandbox
from lib.report.sandbox import answer, environment_of, with_markup

OURS = {
    "base.html": (
        "<title>{% block title %}{% endblock %}</title>{% block top %}{% endblock %}"
    ),
    "page.html": (
        '{% extends "base.html" %}\n{% import "parts.html" as parts %}\n'
        "{% block title %}{{ title }}{% endblock %}"
        "{% block top %}{{ parts.shown(line) }}{% endblock %}"
    ),
    "parts.html": "{% macro shown(one) %}{{ one.name }}: {{ one.items }}{% endmacro %}",
}
FACTS = {
    "title": "<b>",
    "line": {"name": "shop", "items": "3"},
    "bar": with_markup({sandbox.HTML: "<svg>"}),
}


def made(text, name="page.html", **more):
    theirs = {name: text, **more}
    return answer(environment_of(OURS, theirs), "page.html", FACTS, 1000)


def test_a_template_replaces_ours_and_has_our_parts():
    text = (
        '{% import "parts.html" as parts %}{{ title }}{{ bar }}{{ parts.shown(line) }}'
    )
    assert made(text) == {"text": "&lt;b&gt;<svg>shop: 3"}


def test_a_template_extends_the_one_that_it_replaces():
    text = '{% extends "ours/page.html" %}{% block title %}Mine{% endblock %}'
    assert made(text) == {"text": "<title>Mine</title>shop: 3"}
    # What is ours extends what is theirs.
    text = "{% block title %}{% endblock %} by us"
    assert made(text, "base.html") == {"text": "&lt;b&gt; by us"}


def test_a_name_is_a_member_and_no_method_of_what_holds_it():
    assert made("{{ line.items }}") == {"text": "3"}


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("\n{{ foo }}", 2, "'foo' is undefined"),
        ("{{ line.foo }}", 1, "'dict object' has no attribute 'foo'"),
        ("{% for %}", 1, "Expected an expression, got 'end of statement block'"),
        ("\n\n{% if 1 %}", 3, "Unexpected end of template."),
        ("{{ 1/0 }}", 1, "ZeroDivisionError: division by zero"),
        ('{% include "/etc/passwd" %}', 1, "there is no template '/etc/passwd'"),
        ('{% include "../x.html" %}', 1, "there is no template '../x.html'"),
        ("{{ title|nothing }}", 1, "No filter named 'nothing'."),
        ("{{ title.__class__ }}", 1, "'__class__' of 'str' object is unsafe"),
        ("{{ line.update(a=1) }}", 1, "'update' of 'dict' object is unsafe"),
        ('{{ "{0.__class__}".format(1) }}', 1, "'__class__' of 'int' object is unsafe"),
        ('{% include "page.html" %}', 1, "it includes or calls itself for ever"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", 1, "calls itself for ever"),
        ("{{ range(10**9)|list }}", 1, "Range too big"),
        ("{% for a in range(999) %}aaa{% endfor %}", 0, "longer than 1,000 characters"),
    ],
)
def test_one_that_fails_says_where_and_why(text, line, why):
    found = made(text)
    assert (found["name"], found["line"]) == ("page.html", line), found
    assert why in found["why"]


def test_where_ours_misses_what_theirs_does_not_have_it_is_said_of_ours():
    found = made("", "parts.html")
    assert (found["name"], found["line"]) == ("ours/page.html", 3)
    assert "has no attribute 'shown'" in found["why"]


def test_both_sides_call_what_is_html_already_the_same():
    assert owntemplates.HTML == sandbox.HTML
