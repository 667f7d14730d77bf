"""No value shows a secret: not in a repr, in JSON, a log line or a traceback."""

from __future__ import annotations

import importlib
import io
import logging
import pkgutil
import traceback
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import lib
from lib.config.load import load_settings
from lib.config.targets import target_sections
from lib.core.encoding import encode
from lib.core.secret import Secret, Secrets
from lib.core.settings import Settings
from lib.workers.worker import Order

BASE = Path(__file__).resolve().parents[3]
KNOWN = ("canary-1", "canary-2", "canary-3", "canary-4", "canary-5", "canary-6")
TEXT = """\
[general]
servername = web1
alertcontact = ops@example.com
[email]
smtpserver = mail.example.com
imapserver = imap.example.com
user = me@example.com
pass = canary-1
[email backup]
smtpserver = mail.example.org
user = me@example.org
pass_file = password
[peers]
friend = https://me:canary-3@example.org/,a@example.org,key=canary-4
[http homepage]
url = https://me:canary-5@example.com/
[Mine]
token = canary-6
"""
#: Fields of such a name hold secrets.
NAMES = {"password", "secret", "secrets", "login"}


@pytest.fixture
def settings(tmp_path):
    for name, text in (("settings.cfg", TEXT), ("password", "canary-2\n")):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(text)
    (tmp_path / "Mine.py").write_text("")
    return load_settings(tmp_path / "settings.cfg", base=BASE, jobs=[tmp_path])


def order_of(settings: Settings) -> Order:
    return Order(secrets=settings.secrets, mail=settings.mail)


def hidden(text: str) -> bool:
    return not any(secret in text for secret in KNOWN)


def structs() -> Iterator[type[msgspec.Struct]]:
    """Yield every Struct class of lib."""
    for module in pkgutil.walk_packages(lib.__path__, "lib."):
        importlib.import_module(module.name)
    waiting = [msgspec.Struct]
    while waiting:
        for cls in waiting.pop().__subclasses__():
            waiting.append(cls)
            if cls.__module__.startswith("lib."):
                yield cls


def test_all_of_the_secrets_are_known_and_nothing_is_wrong(settings):
    assert set(settings.secrets) == set(KNOWN)
    assert settings.mail.password.reveal() == "canary-1"
    assert settings.mail.backup and settings.mail.backup.password.reveal() == "canary-2"
    assert settings.mail.mailbox and settings.mail.mailbox.password.reveal() == KNOWN[0]
    (friend,) = settings.peers.peers
    assert friend.address == "https://me:canary-3@example.org/"
    assert (friend.url, friend.key.reveal()) == ("https://example.org/", "canary-4")


def test_every_field_for_a_secret_has_a_type_that_hides_it():
    fields = {
        f"{cls.__qualname__}.{name}": hint
        for cls in structs()
        for name, hint in cls.__annotations__.items()
        if name in NAMES
    }
    assert "Mail.password" in fields and "Order.secrets" in fields
    assert set(fields.values()) <= {"Secret", "Secrets"}, fields


def test_no_repr_and_no_text_shows_a_secret(settings):
    (target,) = target_sections(settings.ini, "http")
    values = (settings, settings.ini, order_of(settings), settings.secrets, target)
    for value in (*values, *settings.peers.peers, *settings.ini.sections.values()):
        assert hidden(f"{value!r} {value!s} {value}"), type(value)
    assert repr(settings.mail.password) == str(settings.mail.password) == "***"


def test_no_json_shows_a_secret(settings):
    for value in (settings, order_of(settings), settings.peers, settings.mail):
        with pytest.raises(TypeError):
            msgspec.json.encode(value)
    assert hidden(encode(settings).decode())
    for section in settings.ini.sections.values():
        assert hidden(encode(section).decode())
    assert msgspec.json.encode(Secret("canary-1"), enc_hook=str) == b'"***"'


def test_no_log_line_and_no_traceback_shows_a_secret(settings):
    printed = io.StringIO()
    logger = logging.Logger("of this test")
    logger.addHandler(logging.StreamHandler(printed))
    try:
        logger.warning("%s %r", settings, order_of(settings))
        raise_with(settings, settings.mail.password)
    except ValueError as error:
        logger.exception("it failed with %s", settings.secrets)
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        printed.write("".join(shown.format()))
    assert "password = ***" in printed.getvalue()
    assert hidden(printed.getvalue())


def raise_with(settings: Settings, password: Secret) -> None:
    raise ValueError(settings, password)


def test_secrets_are_equal_if_their_texts_are():
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a" and not Secret() and Secret("a")
    assert len({Secret("a"), Secret("a")}) == 1
    assert [*Secrets(["b", "aa", "b"])] == ["aa", "b"]
