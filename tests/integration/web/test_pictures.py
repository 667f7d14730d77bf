"""The pictures of README: what they show is what the program prints and shows.

``make approve`` takes them anew where that has changed.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from lib.config.load import load_settings
from lib.report.graphs import slices_for
from lib.report.page import Look, link_of, overview
from lib.report.reader import Reader
from tests.support import approved as approving
from tests.support import browser, example
from tests.support.instance import Instance
from tests.support.terminal import printed

pytestmark = pytest.mark.integration

NO_BROWSER = browser.why_not(with_axe=False)
ROOT = Path(__file__).resolve().parents[3]
PAGE, TERMINAL = ROOT / "docs" / "page.png", ROOT / "docs" / "status.svg"
APPROVED = ROOT / "tests/approved/integration/web/test_pictures.txt"
#: The largest that a picture may be, for who reads README.
MAX_BYTES = 60_000
COLUMNS, WIDTH = 80, 900
#: What differs from one zlib, and from one machine, to another; and what is usual.
VARYING = {
    r"[\d.]+kB of state": "204.8kB of state",
    r"last run \d+ seconds": "last run 20 seconds",
}
#: The text down to the last job, and where that ends.
SHOWN = """
const parts = [...document.querySelectorAll('header, #main > section')];
const last = parts.findIndex(one => one.getAttribute('aria-labelledby') === 'jobs');
const shown = parts.slice(0, last + 1);
return [shown.map(one => one.innerText).join('\\n'),
        Math.ceil(shown[last].getBoundingClientRect().bottom) + 16];
"""


@pytest.fixture(scope="module")
def instance(tmp_path_factory) -> Instance:
    return example.instance_in(tmp_path_factory.mktemp("example"))


def page_of(instance: Instance) -> str:
    """Return the front page as the daemon shows it."""
    settings = load_settings(instance.settings, base=ROOT, state=instance.state)
    reader = Reader(settings, example.NOW)
    keys = tuple(reader.bare.catalog)
    slices = slices_for(len(keys))
    graphs = {
        link_of(key): reader.graph(key, rows, slices)
        for key, rows in reader.rows_of(keys)
    }
    return overview(reader.snapshot(graphs), Look(is_file=False, every_s=60))


@pytest.mark.skipif(bool(NO_BROWSER), reason=NO_BROWSER)
def test_the_picture_of_the_page_shows_what_the_page_does(instance, approved):
    path = instance.folder / "index.html"
    path.write_text(page_of(instance))
    with browser.driver() as driver, browser.window(driver, WIDTH) as one:
        one.look("light")
        one.open(path.as_uri())
        text, height = one.run(SHOWN)
        text = "\n".join(" ".join(line.split()) for line in text.splitlines() if line)
        known = "".join(approving.read_sections(APPROVED).values())
        if approving.APPROVING and not (PAGE.exists() and text in known):
            one.picture(PAGE, WIDTH, height)
    content = PAGE.read_bytes()
    assert len(content) < MAX_BYTES
    # So that neither is taken anew without the other.
    approved(f"{text}\ndocs/page.png: {hashlib.sha256(content).hexdigest()}")


def test_the_picture_of_the_terminal_shows_what_is_printed_there(instance, approved):
    said = printed(instance.command("-m", "status")[1:], example.NOW, COLUMNS)
    # What comes after that is a table of its own.
    table = said.partition("\n\n")[0]
    approved(drawing(f"$ ./checker.py -m status\n{table}\n"), file=TERMINAL)
    assert len(TERMINAL.read_bytes()) < MAX_BYTES


def drawing(said: str) -> str:
    """Return what a terminal shows as SVG, without any font from elsewhere."""
    for pattern, usual in VARYING.items():
        said, count = re.subn(pattern, usual, said)
        assert count == 1
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True
    )
    console.print(Text.from_ansi(said), end="")
    svg = console.export_svg(title="web1", unique_id="status")
    svg = re.sub(r"(?s)@font-face \{.*?\}\s*|<!--.*?-->\s*", "", svg)
    svg = svg.replace("Fira Code, monospace", "ui-monospace, monospace")
    return "".join(f"{line.strip()}\n" for line in svg.splitlines() if line.strip())


@pytest.mark.parametrize("path", [PAGE, TERMINAL], ids=lambda path: path.name)
def test_readme_has_the_pictures(path):
    assert f"](docs/{path.name})" in (ROOT / "README.md").read_text()
