"""The program; README.md has the map of its rooms."""
