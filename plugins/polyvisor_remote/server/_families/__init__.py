"""Who serves what: a module for each family of procedures."""
