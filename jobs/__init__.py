"""The jobs that ship, one class per file; your own may lie beside them.

A file whose name starts with ``_`` is no job.  See docs/jobs.md.
"""
