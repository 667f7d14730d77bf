"""Which files of the job folders are jobs, and which of them must not be loaded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib.config.jobfiles import find_job_files

SHIPS = {"HTTPServerChecker"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def shipped(tmp_path):
    return folder_of(tmp_path / "jobs", "HTTPServerChecker.py", "Mine.py")


def folder_of(folder: Path, *names: str) -> Path:
    folder.mkdir(mode=0o755)
    for name in names:
        (folder / name).write_text("")
        (folder / name).chmod(0o644)
    return folder


def names(files):
    return [file.name for file in files]


def said(problems, folder: Path) -> list[str]:
    return [str(problem).replace(str(folder), "FOLDER") for problem in problems]


def failure(file, folder: Path) -> str:
    return file.refused.replace(str(folder), "FOLDER")


def test_files_come_in_sorted_order_folder_by_folder(shipped, tmp_path):
    own = folder_of(tmp_path / "own", "Zebra.py", "Apple.py")
    files, problems = find_job_files(shipped, [own], SHIPS)
    assert names(files) == ["HTTPServerChecker", "Mine", "Apple", "Zebra"]
    assert problems == ()


def test_only_what_ships_by_name_ships(shipped, tmp_path):
    own = folder_of(tmp_path / "own", "Apple.py")
    files, _problems = find_job_files(shipped, [own], {*SHIPS, "Apple"})
    assert [file.ships for file in files] == [True, False, False]


@pytest.mark.parametrize(
    "name",
    [
        "Job.py~",
        ".Job.py",
        ".#Job.py",
        "#Job.py#",
        "#Job.py",
        ".Job.py.swp",
        "Job.py.bak",
        "Job.py.orig",
        "Job.py.rej",
        "_helper.py",
        "__init__.py",
        "JobBase.py",
        "JobSpawner.py",
        "notes.txt",
    ],
)
def test_what_is_no_job_is_passed_over_quietly(tmp_path, name):
    folder = folder_of(tmp_path / "jobs", name)
    assert find_job_files(folder, [], SHIPS) == ((), ())


def test_a_folder_is_no_job_whatever_its_name(tmp_path):
    folder = folder_of(tmp_path / "jobs")
    (folder / "Job.py").mkdir()
    assert find_job_files(folder, [], SHIPS) == ((), ())


def test_a_name_that_no_class_can_have_is_a_warning(tmp_path, approved):
    folder = folder_of(tmp_path / "jobs", "my-job.py", "class.py")
    files, problems = find_job_files(folder, [], SHIPS)
    assert files == ()
    assert all(problem.warning for problem in problems)
    approved(said(problems, tmp_path))


def test_a_name_that_is_not_utf_8_can_be_printed(tmp_path, approved):
    folder = folder_of(tmp_path / "jobs")
    with open(os.fsencode(folder) + b"/caf\xe9.py", "wb"):
        pass
    _files, problems = find_job_files(folder, [], SHIPS)
    approved(str(problems[0]))
    str(problems[0]).encode()


def test_the_second_file_of_a_name_is_refused(shipped, tmp_path, approved):
    own = folder_of(tmp_path / "own", "HTTPServerChecker.py")
    files, _problems = find_job_files(shipped, [own], SHIPS)
    approved([failure(file, tmp_path) for file in files])


def test_a_folder_that_is_named_twice_is_read_once(shipped, tmp_path):
    (tmp_path / "link").symlink_to(shipped)
    files, problems = find_job_files(shipped, [shipped, tmp_path / "link"], SHIPS)
    assert names(files) == ["HTTPServerChecker", "Mine"]
    assert problems == ()


def test_a_folder_that_is_missing_does_not_stop_the_others(shipped, tmp_path, approved):
    own = folder_of(tmp_path / "own", "Apple.py")
    (tmp_path / "file").write_text("")
    folders = [tmp_path / "missing", tmp_path / "file", own]
    files, problems = find_job_files(shipped, folders, SHIPS)
    assert names(files)[-1] == "Apple"
    approved(said(problems, tmp_path))
    assert {(one.section, one.fatal, one.warning) for one in problems} == {
        ("general", False, False)
    }


def test_a_file_that_anybody_may_write_is_refused(shipped, tmp_path, approved):
    (shipped / "Mine.py").chmod(0o646)
    files, problems = find_job_files(shipped, [], SHIPS)
    assert problems == ()
    approved(failure(files[1], tmp_path))


def test_nothing_of_a_folder_that_anybody_may_write_is_run(shipped, tmp_path, approved):
    shipped.chmod(0o777)
    files, problems = find_job_files(shipped, [], SHIPS)
    assert files == ()
    assert len(problems) == 1
    approved(said(problems, tmp_path)[0])


@as_root
def test_a_file_that_belongs_to_somebody_else_is_refused(shipped, tmp_path, approved):
    os.chown(shipped / "Mine.py", 65534, 0)
    files, _problems = find_job_files(shipped, [], SHIPS)
    approved(failure(files[1], tmp_path))


def test_a_link_is_judged_by_what_it_leads_to(shipped, tmp_path, approved):
    elsewhere = tmp_path / "Elsewhere.py"
    elsewhere.write_text("")
    elsewhere.chmod(0o666)
    (shipped / "Linked.py").symlink_to(elsewhere)
    (shipped / "Nowhere.py").symlink_to(tmp_path / "Nowhere.py")
    files, _problems = find_job_files(shipped, [], SHIPS)
    approved(failure(files[1], tmp_path), "1")
    approved(failure(files[3], tmp_path), "2")


def test_a_pipe_is_refused_without_being_opened(shipped, tmp_path, approved):
    os.mkfifo(shipped / "Pipe.py")
    files, _problems = find_job_files(shipped, [], SHIPS)
    approved(failure(files[2], tmp_path))
