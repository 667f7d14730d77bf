"""Commands and their arguments."""
