"""The simulator: guests with real memory and no processor.

A guest of the simulator has memory whose pages change as it runs, by a rule that depends
on nothing but time, so that whatever is done to it (save, restore, migrate, revert) can
be checked byte for byte. Two drivers are made of it: ``sim:///NAME`` keeps its guests
for all processes of a user, ``test:///default`` keeps them in this one, as libvirt's
test driver does.

It is also the reference for those who write a plugin. In reading order:

``hypervisor``     what a hypervisor must be able to do, in terms of the rooms below
``machine``        a machine's clock, and what it does of itself
``clock``          the host's time, by which machines go
``pages``          which page holds what, as a function of ticks
``memory``         the sparse file that holds the pages
``check``          comparing memory with what ticks made of it
``rack``           where machines are kept, in files or in this process
``stream``         memory and clock as a stream (``versions``); ``image``: save images
``outgoing``       live migration, the sending side; ``incoming``: the receiving side
``driver``         ``sim:///NAME``; ``testdriver``: ``test:///``, which begins with what is
                   in ``default`` or is read by ``node``
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.hookspecs import hookimpl

if TYPE_CHECKING:
    from polyvisor.driver import DriverInfo
    from polyvisor.saveimage import FormatInfo

__all__ = ["polyvisor_api", "polyvisor_drivers", "polyvisor_save_formats"]

#: Version of the plugin interface that this was written for.
polyvisor_api = 1


@hookimpl
def polyvisor_drivers() -> list[DriverInfo]:
    """Announce ``sim`` and ``test``."""
    from polyvisor.driver import DriverInfo

    return [
        DriverInfo(
            name="sim",
            schemes=("sim",),
            summary="Simulated guests with real memory, shared between processes",
            factory="polyvisor_sim.driver:SimDriver",
            default_uri="sim:///default",
            target="polyvisor_sim.conformance:sim",
            settings="polyvisor_sim.settings:SIM",
        ),
        DriverInfo(
            name="test",
            schemes=("test",),
            summary="Simulated guests in this process, as libvirt's test driver has them",
            factory="polyvisor_sim.testdriver:TestDriver",
            default_uri="test:///default",
            target="polyvisor_sim.conformance:test",
            settings="polyvisor_sim.settings:TEST",
        ),
    ]


@hookimpl
def polyvisor_save_formats() -> list[FormatInfo]:
    """Announce ``libvirt-test``."""
    from polyvisor.saveimage import FormatInfo

    return [
        FormatInfo(
            name="libvirt-test",
            magics=(b"TestGuestMagic\0",),
            summary="save images of libvirt's test driver",
            factory="polyvisor_sim.image:TestImageFormat",
        )
    ]
