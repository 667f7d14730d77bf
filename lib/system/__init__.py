"""What the operating system gives: processes, clock, log, files written whole."""
