"""The texts of mails about peers, for the peer's admin and for our own.

The peer's admin may not know us, so each text says who asks, which URL, and what to
do.  A new PeerStatus without a valid answer needs a row in ADVICE.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from lib.core.text import counted, duration, mail_time, wrapped
from lib.peers.answer import Answer, PeerStatus

#: What to do if there is no answer, or if it is not valid.
ADVICE = {
    None: (
        "Check that the machine is up, and that the web server or checker.py -m daemon "
        "is running at that URL.  While it is down, your Checker cannot tell you so."
    ),
    PeerStatus.WRONG: (
        "Check that the URL leads to checker.py -m daemon or to the file of [status] "
        "write.  The first line must be True, MailProblem or JobProblem and nothing "
        "else."
    ),
    PeerStatus.UNSIGNED: (
        "Check that both sides have the same key= in [peers].  checker.py -m peerkey "
        "makes a new key for both."
    ),
    PeerStatus.FORGED: (
        "The answer was changed on the network.  Check what is between us, such as a "
        "proxy.  checker.py -m peerkey makes a new key for both sides."
    ),
    PeerStatus.STALE: (
        "Check that cron still starts Checker, that the file of [status] write is "
        "still updated and copied, and that the clock is right.  Somebody who replays "
        "a recorded answer has the same effect."
    ),
    PeerStatus.AHEAD: "Check the clocks of both machines.",
    PeerStatus.OURS: (
        "Check that the URL does not lead back to us.  If two machines have the same "
        "[general] servername, change one.  It may also be that somebody replays our "
        "own answers."
    ),
    PeerStatus.ANOTHERS: (
        "Check that the URL does not lead to another machine, and that each pair of "
        "peers has a key of its own.  If your servername has changed, ask us to change "
        "the name or the key of your line in our [peers]."
    ),
}


def not_answered(
    peer_status: PeerStatus | None, why: str, *, us: str, url: str, times: int
) -> str:
    """Return the reason of a failure without a valid answer."""
    attempts = f" in {times} attempts" if times > 1 else ""
    what = f"{us} monitors your Checker at {url} and got no valid answer{attempts}."
    return "\n".join(
        (answer_line(peer_status, why), wrapped(what), wrapped(ADVICE[peer_status]))
    )


def answer_line(peer_status: PeerStatus | None, why: str) -> str:
    """Return in one line what was received in place of a valid answer."""
    what = peer_status.value if peer_status else "no answer"
    return f"{what}: {why}" if why else what


def problem(
    peer_status: PeerStatus, answer: Answer | None, *, us: str, url: str
) -> str:
    """Return the reason of a failure that the peer itself reports."""
    who = f"{us} monitors your Checker at {url}."
    if peer_status is PeerStatus.MAIL_PROBLEM:
        lines = ["it says that it cannot send mail", who]
        effect = "your Checker cannot alert anybody"
        if answer and answer.deferred and answer.deferred_since:
            count = counted(answer.deferred, "message")
            since = mail_time(answer.deferred_since, UTC)
            lines[0] = f"it says that mail is stuck: {count}, the oldest since {since}"
            effect = "your Checker does not say all that it has to say"
        if answer and answer.mail_proof_age_s is not None:
            age = duration(timedelta(seconds=answer.mail_proof_age_s))
            lines.append(f"Its last round-trip mail arrived {age} ago.")
        lines.append(
            f"Until this is fixed, {effect}.  Run checker.py "
            "-m status to see why, and checker.py -m testmail to see each step."
        )
        return "\n".join(map(wrapped, lines))
    lines = [f"it says that it is {peer_status}", who]
    if answer and answer.last_run:
        ended_at = mail_time(answer.last_run, UTC)
        lines.append(f"Its last run finished at {ended_at}.")
    elif answer:
        lines.append("No run has finished yet.")
    lines.append(
        "Until runs finish again, your Checker checks nothing.  Check that cron still "
        "starts checker.py -m cron -c minute, and run that command by hand to see its "
        "errors."
    )
    return "\n".join(map(wrapped, lines))


def uplink_down(now: datetime, zone: tzinfo | None) -> tuple[str, str]:
    """Return the subject and the text of the mail about our own connection."""
    return (
        "our own network connection was down",
        f"At {mail_time(now, zone)} no peer answered,\n"
        "and no other remote target did.\n"
        "So our own network connection was down, and no peer's admin was notified.\n"
        "Peers are asked again each minute until one answers.\n\n"
        "If you did not expect this, check this machine's network and its DNS.\n",
    )
