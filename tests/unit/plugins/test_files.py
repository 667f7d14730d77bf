"""What is there of files, patterns and folders."""

import os
import time

from lib.plugins import files
from lib.plugins.files import LeftOut


def test_what_is_not_finished_is_left_out(tmp_path):
    for name, age_s in (("a.gz", 100), ("b.gz", 5), ("c.gz.part", 100)):
        path = tmp_path / name
        path.write_text(name)
        os.utime(path, (time.time() - age_s,) * 2)

    def names(*left_out):
        found = files.matching(f"{tmp_path}/*", LeftOut(*left_out))
        assert files.count_in(str(tmp_path), LeftOut(*left_out)) == len(
            listed := sorted(os.path.basename(path) for _at, path in found)
        )
        return listed

    assert names() == ["a.gz", "b.gz", "c.gz.part"]
    assert names(("*.part",)) == ["a.gz", "b.gz"]
    assert names(("*.part",), 60) == ["a.gz"]


def test_a_folder_is_all_that_is_below_it(tmp_path):
    for number in range(250):
        folder = tmp_path / str(number % 5)
        folder.mkdir(exist_ok=True)
        (folder / str(number)).write_bytes(b"x" * 1000)
    (tmp_path / "link").symlink_to(tmp_path)
    said = []
    found = files.folder_of(str(tmp_path), said.append)
    assert (found.files, found.size) == (250, 250_000)
    assert said == ["100 files so far, 100 kB", "200 files so far, 200 kB"]
    assert files.folder_of(str(tmp_path / "0" / "none"), said.append).files == 0
