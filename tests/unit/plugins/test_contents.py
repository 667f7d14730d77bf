"""Contents of files, searched line by line."""

import os
import re

import pytest

from lib.net.connect import Deadline
from lib.plugins import aside, contents
from lib.plugins.base import CheckFailed, CheckUnknown
from lib.plugins.contents import Asked, blocks


@pytest.mark.long
def test_what_spans_two_pieces_is_found_and_lines_stay_whole():
    lines = [b"%07d" % number for number in range(300_000)]
    content = b"\n".join(lines)
    chunks = [content[at : at + 77_777] for at in range(0, len(content), 77_777)]
    seen = list(blocks(chunks))
    assert len(seen) > 2
    found = {line for block in seen for line in block.split()}
    assert found == set(lines)
    one = b"x" * 3_000_000 + b"needle"
    assert any(b"needle" in block for block in blocks([one]))
    assert list(blocks([])) == [b""]


@pytest.mark.parametrize("at", [0, 150, 192, 195, 199, 250])
def test_no_half_of_a_secret_is_shown_of_a_line(tmp_path, at):
    path = tmp_path / "file"
    path.write_text(f"first\n{'x' * at}canary-1 is wrong\n")
    asked = Asked(forbid_regex=re.compile(b"wrong"))
    with pytest.raises(CheckFailed) as told:
        contents.read(
            str(path),
            os.stat(path),
            asked,
            lambda words: None,
            lambda line: line.replace("canary-1", "***"),
        )
    words = str(told.value).partition("forbid_regex: ")[2]
    assert words[:200] == words
    assert "c" not in words


def test_each_checksum_that_is_asked_for_comes_of_one_look(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    said = []
    told = contents.read(
        str(path), os.stat(path), Asked(checksum="md5", digest=True), said.append
    )
    assert told["checksum"] == "d41d8cd98f00b204e9800998ecf8427e"
    assert told["digest"].startswith("e3b0c442")


def test_what_became_a_pipe_meanwhile_is_not_waited_for(tmp_path):
    path = tmp_path / "file"
    path.write_text("hello")
    facts = os.stat(path)
    path.unlink()
    os.mkfifo(path)

    def work(progress):
        return contents.read(str(path), facts, Asked(expect=b"hello"), progress)

    with pytest.raises(CheckUnknown, match="it is not a file any more"):
        aside.do(work, str(path), Deadline(20))
