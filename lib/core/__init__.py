"""Values and pure rules: no clock, files, sockets or logging."""
