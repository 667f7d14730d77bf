"""catalog.json: the jobs that the last runs met.  Made anew when it is lost."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.core import plain
from lib.core.jobs import CatalogEntry, FileScan, JobKey
from lib.storage.codec import packed, read_value
from lib.system.files import Damaged, replace_files

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Catalog:
    jobs: Mapping[str, Any]
    #: When each job file was last asked, by its path.
    asked: Mapping[str, Any] = field(default_factory=dict)


def load_catalog(path: Path) -> tuple[dict[JobKey, CatalogEntry], dict[str, FileScan]]:
    """Return the jobs by key, and when each job file was asked for its own.

    Nothing of either if that is lost.  Raise StateError if it is of a newer Checker.
    """
    try:
        found = read_value(path, _Catalog)
        return (
            {
                JobKey.parse(key): plain.from_plain(CatalogEntry, one)
                for key, one in found.jobs.items()
            },
            {key: plain.from_plain(FileScan, one) for key, one in found.asked.items()},
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
