"""settings.cfg -> Settings, or every problem at once, each with file and line."""
