"""polyvisor.aio is what its generator would write from the blocking handles."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def test_the_asynchronous_face_is_up_to_date() -> None:
    """After a change of a handle ``tox -e api -- --update`` was run."""
    path = Path(__file__).with_name("aio_faces.py")
    spec = importlib.util.spec_from_file_location("aio_faces", path)
    assert spec is not None
    assert spec.loader is not None
    faces = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(faces)
    assert faces.stale() == []
