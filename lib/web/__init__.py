"""The daemon: routes and limits; runs no job."""
