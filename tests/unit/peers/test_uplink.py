"""Whether our own network connection is down."""

from __future__ import annotations

import threading
import time

import pytest

from lib.config.fields import is_this_machine
from lib.core.settings import Mail, Peer
from lib.peers.uplink import Uplink, any_answers
from tests.support.fakes import ini
from tests.support.listeners import HOLD, Listener, answer, closed_port, says
from tests.support.waits import SOON_S


def peer(url="", name="x"):
    return Peer(name, url or f"http://127.0.0.1:{closed_port()}/", "a@example.org")


def uplink_to(*peers, is_here=is_this_machine, **sections):
    text = "".join(
        f"[{kind} it]\n"
        + "".join(f"{name} = {value}\n" for name, value in given.items())
        for kind, given in sections.items()
    )
    return UplinkWithTargets(peers, ini(text), is_here)


class UplinkWithTargets(Uplink):
    """An uplink that knows the targets of the settings."""

    def __init__(self, peers, content, is_here):
        super().__init__(peers, is_here)
        self.content = content

    def is_down(self, silent, mail):
        return super().is_down(silent, mail, self.content)


def test_of_one_that_is_silent_and_alone_nothing_follows():
    silent = peer()
    assert not uplink_to(silent).is_down(silent, None)
    assert not uplink_to(silent).is_down(
        silent, Mail(smtpserver="127.0.0.1", smtpport=1)
    )


def test_it_is_down_where_no_other_peer_answers_either():
    silent = peer()
    assert uplink_to(silent, peer(name="y")).is_down(silent, None)
    with Listener(says(answer(body=b"JobProblem"))) as there:
        assert not uplink_to(silent, peer(there.url(), "y")).is_down(silent, None)


def test_it_is_found_out_once_in_a_run_and_by_all_at_once():
    with Listener(says(answer(body=b"no Checker"))) as there:
        silent, other = peer(), peer(there.url(), "y")
        uplink = uplink_to(silent, other)
        threads = [
            threading.Thread(target=uplink.is_down, args=(silent, None)) for _ in "1234"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert uplink.is_down(silent, None)
        assert len(there.heard) == 1


def test_who_was_heard_need_not_be_asked():
    silent = peer()
    uplink = uplink_to(silent, peer(name="y"))
    uplink.note_answer()
    assert not uplink.is_down(silent, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_what_is_on_this_machine_is_not_tried(host):
    silent = peer()
    shown = f"[{host}]" if ":" in host else host
    with Listener(says(answer())) as here:
        uplink = uplink_to(
            silent,
            peer(name="y"),
            http={"url": f"http://{shown}:{here.port}/"},
            tcp={"host": host, "port": str(here.port)},
        )
        assert uplink.is_down(silent, None)
    assert here.heard == []


def nowhere(_host):
    return False


def test_targets_elsewhere_are_asked():
    silent = peer()
    with Listener(says(answer("500 Internal Server Error"))) as there:
        by_url = uplink_to(
            silent, peer(name="y"), is_here=nowhere, http={"url": there.url()}
        )
        assert not by_url.is_down(silent, None)
        port = str(there.port)
        by_port = uplink_to(
            silent, is_here=nowhere, tcp={"host": "127.0.0.1", "port": port}
        )
        assert not by_port.is_down(silent, None)
    # Nothing listens there any more.
    by_port = uplink_to(
        silent, is_here=nowhere, tcp={"host": "127.0.0.1", "port": port}
    )
    assert by_port.is_down(silent, None)


def test_where_there_is_nobody_else_the_mail_servers_will_do():
    silent = peer()
    with Listener() as there:
        backup = Mail(smtpserver="127.0.0.1", smtpport=there.port)
        mail = Mail(smtpserver="127.0.0.1", smtpport=closed_port(), backup=backup)
        assert not uplink_to(silent, is_here=nowhere).is_down(silent, mail)
    assert uplink_to(silent, is_here=nowhere).is_down(silent, mail)


def test_one_that_answers_is_enough_and_the_others_are_not_waited_for():
    with Listener(says(HOLD)) as hangs, Listener(says(answer(body=b"True"))) as there:
        silent = peer()
        uplink = uplink_to(silent, peer(hangs.url(), "y"), peer(there.url(), "z"))
        began = time.monotonic()
        assert not uplink.is_down(silent, None)
        assert time.monotonic() - began < SOON_S


def test_all_that_is_tried_has_one_end():
    over = threading.Event()
    began = time.monotonic()
    assert not any_answers([lambda: over.wait(3 * SOON_S)] * 3, limit_s=0.2)
    assert time.monotonic() - began < SOON_S
    over.set()
