"""The paths of the service, a family a file."""
