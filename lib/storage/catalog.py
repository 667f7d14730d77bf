"""catalog.json: the jobs that the last runs met.  Made anew when it is lost."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from lib.core.encoding import Stored
from lib.core.jobs import CatalogEntry, FileScan, JobKey
from lib.storage.codec import packed, read_value
from lib.system.files import Damaged, replace_files

logger = logging.getLogger(__name__)


class _Catalog(Stored, frozen=True):
    jobs: Mapping[str, CatalogEntry]
    #: When each job file was last asked, by its path.
    asked: Mapping[str, FileScan] = {}


def load_catalog(path: Path) -> tuple[dict[JobKey, CatalogEntry], dict[str, FileScan]]:
    """Return the jobs by key, and when each job file was asked for its own.

    Nothing of either if that is lost.  Raise StateError if it is of a newer Checker.
    """
    try:
        catalog = read_value(path, _Catalog)
        return (
            {JobKey.parse(key): entry for key, entry in catalog.jobs.items()},
            dict(catalog.asked),
        )
    except FileNotFoundError:
        return {}, {}
    except (Damaged, ValueError) as error:
        logger.warning("%s: %s; it is made anew", path, error)
        return {}, {}


def save_catalog(
    path: Path, jobs: Mapping[JobKey, CatalogEntry], asked: Mapping[str, FileScan]
) -> None:
    """Replace the catalog; raise StateError."""
    in_order = _Catalog({str(key): jobs[key] for key in sorted(jobs)}, asked)
    replace_files([(path, packed(in_order))])
