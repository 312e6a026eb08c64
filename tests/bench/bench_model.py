"""The model alone: reading and writing a definition of 152 lines, and what it costs to have."""

from __future__ import annotations

from harness import Row, alternate, ours, peer

__all__ = ["TITLE", "measure"]

TITLE = "Domain XML of 152 lines, beside libvirt's parser and formatter"


def measure(rounds: int) -> list[Row]:
    """Alternate our model and libvirt's test driver, each in a process of its own."""
    mine, other, importing = alternate(
        rounds,
        ours("model_ours.py"),
        peer("peers/model.py"),
        ours("model_import.py"),
    )
    return [
        Row("parse and format", mine["both"], other["both"], 1 / 1.5),
        Row("parse", mine["parse"], other["parse"]),
        Row("parse and format, first of its kind", mine["both_first"], other["both"]),
        Row("parse and format, second of its kind", mine["both_second"], other["both"]),
        Row("format again, unchanged", mine["format"], other["format"], 1.0),
        Row(
            "memory per domain",
            mine["bytes_per_domain"],
            other["bytes_per_domain"],
            30 * 1024 / other["bytes_per_domain"],
            unit="bytes",
        ),
        Row("import of the model, beyond lxml's", importing["model"], most=0.030),
    ]
