"""Follow EmailChecker's proofs in an instance of Checker that has a mail account."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from tests.support.instance import GENERAL, Instance


def instance_of(tmp_path, account, cafile, more=""):
    general = GENERAL.replace("ops@example.com", account.contact)
    return Instance(tmp_path, account.settings(cafile, more), general)


def record(instance):
    return instance.records()["EmailChecker"]


def memory(instance):
    return record(instance)["memory"]


def turn_back(instance, **delta):
    """Let the round-trip mail have left so long ago."""

    def change(content):
        if content.get("name") == "EmailChecker":
            for each in (
                content["memory"].get("round_trip", {}),
                *content.get("round_trips", ()),
            ):
                for name in {"sent", "taken", "at"} & set(each):
                    moment = datetime.fromisoformat(each[name])
                    each[name] = (moment - timedelta(**delta)).isoformat()
            for one in content.get("queued", ()):
                one.pop("retry_at", None)

    instance.mend(change)


def until_proven(instance):
    """Run each minute until the round-trip mail is judged."""
    ends_at = time.monotonic() + 30
    while "round_trip" in memory(instance):
        assert time.monotonic() < ends_at, memory(instance)
        instance.cron()
    return memory(instance)["proof"]
