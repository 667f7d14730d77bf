"""One cron run from lock to close; never loads job code."""
