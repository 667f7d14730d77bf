"""Killable processes that run job code."""
