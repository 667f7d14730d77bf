"""The state folder: records, audit log, lock; atomic, checksummed."""
