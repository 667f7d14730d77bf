"""What -m validate says of sections that are right, and hardly meant so."""

from __future__ import annotations

from pathlib import Path

from lib.config.advice import advice
from lib.config.ini import IniText
from lib.core.ini import IniFile

TEXT = """\
[template used]
use = base
[template base]
timeout = 3
[template of-a-job]
timeout = 3
[template of-another-section]
timeout = 3
[template nobody]
was = x
[http a]
use = used
was = b
hosts = x
[http b/x]
[job Backup]
use = of-a-job
[Backup]
use = of-another-section
[defaults http]
was = y
"""


def test_layers_that_do_nothing_are_warnings(approved):
    sections = IniText(TEXT, "settings.cfg").sections
    ini = IniFile(Path("/"), ("settings.cfg",), sections)
    problems = list(advice(ini, ["http", "tcp"]))
    assert all(problem.warning for problem in problems)
    approved([str(problem) for problem in problems])


def test_hosts_that_are_in_no_option_are_a_warning(approved):
    text = (
        "[template t]\nhost = {host}\n[template alike]\nhosts_file = /no/file\n"
        "[tcp vain]\nhosts = a, b\nhost = a\nport = 1\nrunbook = https://x/{host}\n"
        "[tcp fine]\nuse = t\nhosts = a, b\nport = 1\n"
        "[tcp one]\nhosts = a\nhost = a\nport = 1\n"
        "[tcp own]\nhosts = a, b\nhost = a\nport = 1\n[tcp own/b]\nhost = b\n"
        "[tcp missing]\nuse = alike\nhost = a\n"
        "[heartbeat backup]\nhosts = a, b\nperiod = 1d\n"
        "[queue mine]\nhosts = a, b\n"
    )
    sections = IniText(text, "settings.cfg").sections
    kinds = ["tcp", "heartbeat", "queue"]
    problems = advice(IniFile(Path("/"), ("settings.cfg",), sections), kinds)
    approved([str(problem) for problem in problems])
