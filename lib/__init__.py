"""The program; CONTRIBUTING.md has the map of its packages."""
