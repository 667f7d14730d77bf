"""Who else may read or write a file, and what to type about it."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from lib.system import permissions

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a file"
    path.write_text("")
    return path


@pytest.fixture
def groups(file, monkeypatch):
    """Return a function that says who is in the file's group."""
    gid = file.stat().st_gid

    def say(*, listed: tuple[str, ...] = (), primary: dict[str, int]) -> None:
        permissions._is_private.cache_clear()
        users = {
            name: pwd.struct_passwd((name, "", uid, gid, "", "", ""))
            for name, uid in primary.items()
        }
        group = grp.struct_group(("theirs", "", gid, list(listed)))
        monkeypatch.setattr(grp, "getgrgid", lambda gid: group)
        monkeypatch.setattr(pwd, "getpwall", lambda: list(users.values()))
        monkeypatch.setattr(pwd, "getpwnam", lambda name: users[name])

    yield say
    permissions._is_private.cache_clear()


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        (0o644, ""),
        (0o600, ""),
        (0o646, "anybody can write it: chmod o-w 'FILE'"),
        (0o666, "anybody can write it: chmod go-w 'FILE'"),
        (0o664, "its group can write it: chmod g-w 'FILE'"),
    ],
)
def test_who_can_write(file, groups, mode, sentence):
    groups(primary={"me": os.geteuid(), "other": 4711})
    file.chmod(mode)
    assert permissions.why_not_run(file).replace(str(file), "FILE") == sentence


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        (0o600, ""),
        (0o400, ""),
        (0o644, "anybody can read it: chmod 600 'FILE'"),
        (0o640, "its group can read it: chmod 600 'FILE'"),
        (0o620, "its group can write it: chmod 600 'FILE'"),
        (0o602, "anybody can write it: chmod 600 'FILE'"),
    ],
)
def test_who_can_read_a_password_or_put_another_there(file, groups, mode, sentence):
    groups(primary={"me": os.geteuid(), "other": 4711})
    file.chmod(mode)
    assert permissions.why_not_secret(file).replace(str(file), "FILE") == sentence


@pytest.mark.parametrize(
    ("listed", "primary", "is_fine"),
    [
        ((), {"me": os.geteuid()}, True),
        (("me",), {"me": os.geteuid()}, True),
        (("other",), {"me": os.geteuid()}, False),
        (("gone",), {"me": os.geteuid()}, False),
        ((), {"me": os.geteuid(), "other": 4711}, False),
        ((), {}, False),
    ],
    ids=[
        "mine alone",
        "mine, and I am listed",
        "another is listed",
        "one is listed whom nobody knows",
        "another's too",
        "nobody's",
    ],
)
def test_a_group_of_nobody_else_is_trusted(file, groups, listed, primary, is_fine):
    groups(listed=listed, primary=primary)
    file.chmod(0o660)
    assert (permissions.why_not_run(file) == "") is is_fine
    assert (permissions.why_not_secret(file) == "") is is_fine


@as_root
def test_a_file_of_another_user_names_the_chown(file):
    os.chown(file, 65534, 0)
    sentence = "it belongs to nobody, not to root: chown root 'FILE'"
    assert permissions.why_not_run(file).replace(str(file), "FILE") == sentence
    os.chown(file, 1_999_999_999, 0)
    assert permissions.why_not_run(file).startswith(
        "it belongs to 1999999999, not to root"
    )


@pytest.mark.parametrize("which", ["", "jobs", "quarantine"])
@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        (0o700, ""),
        (0o755, ""),
        (0o770, "its group can write it: chmod g-w"),
        (0o777, "anybody can write it: chmod go-w"),
        (0o1777, "anybody can write it: chmod go-w"),
    ],
)
def test_who_can_write_into_the_state_folder(file, groups, mode, sentence, which):
    groups(primary={"me": os.geteuid(), "other": 4711})
    file.chmod(0o666)
    for name in ("jobs", "quarantine"):
        (file.parent / name).mkdir()
    folder = file.parent / which if which else file.parent
    folder.chmod(mode)
    why = permissions.why_not_keep(file.parent)
    if not sentence:
        assert why == ""
    else:
        assert why == f"nothing is kept in the folder {folder}: {sentence} {folder}"


def test_a_state_folder_of_a_group_of_nobody_else_is_trusted(file, groups):
    groups(primary={"me": os.geteuid()})
    file.parent.chmod(0o770)
    assert permissions.why_not_keep(file.parent) == ""
