"""Snapshots of disks: in qcow2 images, and in new images over those that there are."""

__all__: list[str] = []
