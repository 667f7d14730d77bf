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
    "mode",
    [
        0o644,
        0o600,
        0o646,
        0o666,
        0o664,
    ],
)
def test_who_can_write(file, groups, mode, approved):
    groups(primary={"me": os.geteuid(), "other": 4711})
    file.chmod(mode)
    approved(permissions.why_not_run(file).replace(str(file), "FILE"))


@pytest.mark.parametrize(
    "mode",
    [
        0o600,
        0o400,
        0o644,
        0o640,
        0o620,
        0o602,
    ],
)
def test_who_can_read_a_password_or_put_another_there(file, groups, mode, approved):
    groups(primary={"me": os.geteuid(), "other": 4711})
    file.chmod(mode)
    approved(permissions.why_not_secret(file).replace(str(file), "FILE"))


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
def test_a_file_of_another_user_names_the_chown(file, approved):
    os.chown(file, 65534, 0)
    sentence = "it belongs to nobody, not to root: chown root 'FILE'"
    assert permissions.why_not_run(file).replace(str(file), "FILE") == sentence
    os.chown(file, 1_999_999_999, 0)
    approved(permissions.why_not_run(file))


@pytest.mark.parametrize("which", ["", "jobs", "quarantine"])
@pytest.mark.parametrize(
    ("mode", "is_kept"),
    [
        (0o700, True),
        (0o755, True),
        (0o770, False),
        (0o777, False),
        (0o1777, False),
    ],
)
def test_who_can_write_into_the_state_folder(
    file, groups, mode, is_kept, which, approved
):
    groups(primary={"me": os.geteuid(), "other": 4711})
    file.chmod(0o666)
    for name in ("jobs", "quarantine"):
        (file.parent / name).mkdir()
    folder = file.parent / which if which else file.parent
    folder.chmod(mode)
    why = permissions.why_not_keep(file.parent)
    assert (why == "") is is_kept
    approved(why)


def test_a_state_folder_of_a_group_of_nobody_else_is_trusted(file, groups):
    groups(primary={"me": os.geteuid()})
    file.parent.chmod(0o770)
    assert permissions.why_not_keep(file.parent) == ""
