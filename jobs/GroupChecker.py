"""[group NAME]: checks that enough of other jobs are OK."""

from __future__ import annotations

from lib.jobbase import (
    Deadline,
    Options,
    Rule,
    Target,
    TargetJob,
    Values,
    many,
    option,
    whole,
)

#: How a tag is written among the names.
TAG = "tag "
#: The words for how many must be OK.
WORDS = {"all": 0, "any": 1}
_count = whole(1, 1_000_000)


def members(value: str) -> tuple[str, ...]:
    """Return names of jobs, patterns, and tags as ``tag NAME``."""
    words = many(value)
    if not words:
        raise ValueError("expected names, patterns such as http *, or tag web")
    return tuple(" ".join(word.split()) for word in words)


def need(value: str) -> str:
    """Return ``all``, ``any`` or a whole number, as text."""
    if value.lower() in WORDS:
        return value.lower()
    try:
        return str(_count(value))
    except ValueError:
        raise ValueError("expected all, any or a whole number from 1 on") from None


class GroupChecker(TargetJob):
    """What other jobs amount to together: a cluster, a site, a service."""

    kind = "group"
    can_retry = False
    guide = r"""
        `of` names jobs (`http web`; one of a section with `hosts` is `http web/a`, and
        `http web` are all of them), patterns such as `http web*`, and tags as `tag db`.
        A pattern or a tag means no groups; a name may be that of another group.

        It is judged when all results of the run are in. A member that was not due, or
        is pending, counts by its last result, and the reason says how old that is. One
        that is disabled is left out. One that is muted, acknowledged or in maintenance
        counts as it was found, from its first failure on, whatever its `failures`.

        | what is known of the members | the group is |
        |---|---|
        | enough are OK | OK |
        | enough are, if those with a warning count | a warning |
        | it depends on members that had no result yet | pending |
        | it depends on members that are unreachable | unreachable: nobody is notified |
        | it depends on members that are unknown | unknown |
        | else | failing |

        Other jobs may have `depends = group NAME`, such as the members of a cluster's
        clients. With `invert = yes` it is OK while it would be failing.
        """
    options: Options = {
        "of": option(members, help="names of jobs, patterns such as http *, tag web"),
        "need": option(
            need, "all", help="how many of them must be OK: all, any or a number"
        ),
    }

    def shown_target(self) -> str:
        """Return nothing: the reason names its members."""
        return ""

    def rule(self) -> Rule:
        """Return how many of which jobs must be OK."""
        words: tuple[str, ...] = self.target.of
        count = self.target.need
        return Rule(
            tuple(word for word in words if not word.startswith(TAG)),
            tuple(word.removeprefix(TAG) for word in words if word.startswith(TAG)),
            WORDS[count] if count in WORDS else int(count),
        )

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return nothing: the rule judges."""
        return {}
