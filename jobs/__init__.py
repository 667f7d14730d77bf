"""The jobs that ship with Checker, one class per file; put your own beside them.

A file whose name starts with ``_`` is not a job file.  See docs/jobs.md.
"""
