"""What the admin of a peer reads of it, and what we read of our own line.  Pure.

Whoever is woken by it may not know us: it says who asks, where, and what to do there.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from lib.core.text import duration, local, wrapped
from lib.peers.answer import Answer, PeerStatus

#: What to do where nothing came that is an answer, or one that is not to be believed.
ADVICE = {
    None: (
        "Is the machine up, and what answers at that address: the web server, or "
        "checker.py -m daemon?  While it is away it cannot tell you so itself."
    ),
    PeerStatus.WRONG: (
        "Does that address lead to checker.py -m daemon, or to the file of [status] "
        "write?  The first line should be True, MailProblem or JobProblem alone."
    ),
    PeerStatus.UNSIGNED: (
        "Do both sides have the same key= in [peers]?  checker.py -m peerkey makes a "
        "new one for both."
    ),
    PeerStatus.FORGED: (
        "What came was changed on its way.  Look who stands between; checker.py -m "
        "peerkey makes a new key for both sides."
    ),
    PeerStatus.STALE: (
        "Does cron still start Checker there, and is the file of [status] write still "
        "replaced and carried?  Is the clock right?  So it looks, too, where somebody "
        "sends a recorded answer again."
    ),
    PeerStatus.AHEAD: "Is the clock right there, and is ours?",
    PeerStatus.OURS: (
        "Does that address lead back to us, or does somebody send us our own answers?  "
        "Two machines with one name need another [general] servername."
    ),
    PeerStatus.ANOTHERS: (
        "Does that address lead to another machine, or have three of us one key?  If "
        "it has a new servername, its line in our [peers] needs another name or key."
    ),
}


def not_answered(
    peer_status: PeerStatus | None, why: str, *, us: str, url: str, times: int
) -> str:
    """Return the reason of a failure where a peer has not said how it is."""
    often = f", though it asked {times} times" if times > 1 else ""
    what = (
        f"{us} asks your Checker how it is, at {url}, and got no answer that it can "
        f"believe{often}."
    )
    return "\n".join(
        (briefly(peer_status, why), wrapped(what), wrapped(ADVICE[peer_status]))
    )


def briefly(peer_status: PeerStatus | None, why: str) -> str:
    """Return in one line what came in the place of an answer."""
    what = peer_status.value if peer_status else "no answer"
    return f"{what}: {why}" if why else what


def ill(peer_status: PeerStatus, said: Answer | None, *, us: str, url: str) -> str:
    """Return the reason of a failure where a peer says that it is not well."""
    asks = f"{us} asks your Checker how it is, at {url}."
    if peer_status is PeerStatus.MAIL_PROBLEM:
        lines = ["it says that it cannot send mail", asks]
        if said and said.mail_proof_age_s is not None:
            age = duration(timedelta(seconds=said.mail_proof_age_s))
            lines.append(f"Mail of its own was last seen to arrive {age} ago.")
        lines.append(
            "Nobody hears what is wrong there until that is mended: checker.py -m "
            "status says why, -m testmail shows each step."
        )
        return "\n".join(map(wrapped, lines))
    lines = [f"it says that it is {peer_status}", asks]
    if said:
        when = local(said.last_run) if said.last_run else ""
        lines.append(
            f"Its last run finished at {when}." if when else "No run has finished yet."
        )
    lines.append(
        "Nothing is checked there until runs finish again.  Does cron still start "
        "checker.py -m cron -c minute, and what does that say on standard error?"
    )
    return "\n".join(map(wrapped, lines))


def line_down(now: datetime) -> tuple[str, str]:
    """Return the subject and the text of the note that our own line was down."""
    return (
        "our own line was down",
        f"At {local(now)} no peer answered, nor anything else that is checked "
        "elsewhere.\nThat was our own line, so no peer's admin was told.  Peers are "
        "asked again each\nminute until one answers.\n\n"
        "If you did not expect it, look at this machine's network and its DNS.\n",
    )
