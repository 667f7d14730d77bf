"""How long what ends at once may take on a machine with other work.

A test that something is not waited for lets it last three times as long, or for ever:
on a busy machine a process may need seconds merely to start.
"""

SOON_S = 20
