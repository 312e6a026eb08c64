"""What the commands for devices of a few words share."""

from __future__ import annotations

from typing import Any

from polyvisor.cli._declare import option

__all__ = ["device_xml", "persistent_option", "print_option"]

persistent_option = option(
    "--persistent", is_flag=True, help="The definition, and the guest if it runs."
)
print_option = option(
    "--print-xml", "shown", is_flag=True, help="Print the device and change nothing."
)


def device_xml(device: Any, tag: str) -> str:
    """Return a device as XML."""
    from polyvisor.model.binding import write_document

    return write_document(device, tag)
