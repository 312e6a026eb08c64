"""One Python API over many hypervisors."""
