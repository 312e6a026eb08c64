"""Files of a home; the room itself lies lower, where save images are written as well."""

from polyvisor._files import (
    AtomicFile,
    FileIdentity,
    part_of,
    remove_file,
    remove_part,
    remove_tree,
    sync_folder,
)

__all__ = [
    "AtomicFile",
    "FileIdentity",
    "part_of",
    "remove_file",
    "remove_part",
    "remove_tree",
    "sync_folder",
]
