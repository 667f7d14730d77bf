"""Reach another machine before a deadline: connect, TLS, HTTP, listen."""
