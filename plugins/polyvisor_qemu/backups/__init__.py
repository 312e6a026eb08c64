"""What changes on disks, kept account of in bitmaps, and copies of it."""

__all__: list[str] = []
