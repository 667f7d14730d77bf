"""A mail to ourselves, by the road of every other."""

from __future__ import annotations

from tests.support.instance import Instance
from tests.support.servers import SmtpServer

ROUND_TRIP = """
from lib.jobbase import CheckPending, JobBase, JobFrequency, send_round_trip

class Prober(JobBase):
    def executeEvery(self):
        return JobFrequency.MINUTE

    def execute(self):
        gone = [one for one in self._checker.round_trips if one.message_id == "ab" * 16]
        owed = [one.last_error for one in self._checker.queued]
        if gone:
            self.memory["gone"] = gone[-1].error or "taken"
            return True
        if owed:
            raise CheckPending(f"still owed: {owed}")
        send_round_trip(
            self, "ab" * 16, "round-trip mail", "whether mail arrives", "me@example.com"
        )
        raise CheckPending("under way")
"""


def prober(tmp_path, server, options=""):
    instance = Instance(tmp_path, server.email_section() + options)
    instance.job("Prober", ROUND_TRIP)
    return instance


def no_such_user(address):
    return "550 5.1.1 no such user" if address == "me@example.com" else None


def record(instance):
    return next(one for one in instance.records().values() if "Prober" in one["key"])


def test_a_round_trip_mail_leaves_at_once_under_its_token_and_its_job_hears_of_it(
    tmp_path,
):
    with SmtpServer(security="none") as server:
        instance = prober(tmp_path, server)
        assert instance.cron().silent
        (mail,) = server.wait_for(1)
        assert mail.parsed["X-Checker-Round-Trip"] == "ab" * 16
        assert "ab" * 16 in mail.parsed["Message-ID"]
        assert record(instance)["round_trips"][0]["message_id"] == "ab" * 16
        assert instance.cron().silent
    assert record(instance)["memory"] == {"gone": "taken"}


def test_a_round_trip_mail_that_is_refused_for_good_is_no_longer_queued_and_says_why(
    tmp_path, approved
):
    with SmtpServer(security="none", answer_rcpt=no_such_user) as server:
        instance = prober(tmp_path, server)
        instance.cron()
        instance.cron()
    approved(record(instance)["memory"]["gone"])


def test_no_budget_holds_a_round_trip_mail_back(tmp_path):
    with SmtpServer(security="none") as server:
        options = "mailsperhour = 1\nmailsperday = 1\n"
        instance = prober(tmp_path, server, options)
        instance.cron()
        server.wait_for(1)
        instance.mend(lambda content: content.pop("round_trips", None))
        instance.cron()
        assert len(server.wait_for(2)) == 2
