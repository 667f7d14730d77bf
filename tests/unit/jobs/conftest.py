"""What tests of kinds share."""

from __future__ import annotations

import socket

import pytest

from lib.net import connect


@pytest.fixture(autouse=True)
def both_addresses(monkeypatch):
    """Have names of two addresses; at the first one of both.example nobody listens."""
    look_up = connect.look_up

    def known(host, port, family):
        if host == "pair.example":
            places = [(each, port) for each in ("127.0.0.1", "127.0.0.2")]
            return [(socket.AF_INET, place) for place in places]
        if host != "both.example":
            return look_up(host, port, family)
        six = (socket.AF_INET6, ("::1", port, 0, 0))
        four = (socket.AF_INET, ("127.0.0.1", port))
        return [one for one in (six, four) if connect._FAMILIES[family] in (0, one[0])]

    monkeypatch.setattr(connect, "look_up", known)
