"""QEMU with guests that run on at the destination before all their memory is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.local import SwitchesGuests
from polyvisor_qemu.changing import ChangingQemu

if TYPE_CHECKING:
    from polyvisor.driver import MigrationLimits, MigrationOptions
    from polyvisor.jobs import Job
    from polyvisor.local import Guest, PostCopy

__all__ = ["SwitchingQemu"]


class SwitchingQemu(ChangingQemu, SwitchesGuests):
    """Migrates guests by post-copy as well, and takes along what belongs to them elsewhere."""

    stops_on_wish = True

    def usual_limits(self) -> MigrationLimits:
        """Return what counts unless it is said otherwise; the cache's size is QEMU's own."""
        from polyvisor.driver import MigrationLimits
        from polyvisor_qemu.readiness import DOWNTIME

        return MigrationLimits(downtime=DOWNTIME, xbzrle_cache=64 << 20)

    def heed(self, guest: Guest, cookie: bytes | None) -> None:
        """See :func:`polyvisor_qemu.portdata.heed`."""
        if cookie:
            from polyvisor_qemu.portdata import heed

            heed(self, guest, cookie)

    def post_copy(self, guest: Guest) -> PostCopy | None:
        """See :func:`polyvisor_qemu.postcopy.how_far`."""
        from polyvisor_qemu.postcopy import how_far

        return how_far(self, guest)

    def send_rest(self, guest: Guest, job: Job) -> dict[str, Any]:
        """See :func:`polyvisor_qemu.postcopy.send_rest`."""
        from polyvisor_qemu.postcopy import send_rest

        return send_rest(self, guest, job)

    def receive_rest(self, guest: Guest, options: MigrationOptions, cookie: bytes | None) -> str:
        """See :func:`polyvisor_qemu.postcopy.receive_rest`."""
        from polyvisor_qemu.postcopy import receive_rest

        return receive_rest(self, guest, options, cookie)

    def resume_rest(self, guest: Guest, uri: str, options: MigrationOptions) -> None:
        """See :func:`polyvisor_qemu.postcopy.resume_rest`."""
        from polyvisor_qemu.postcopy import resume_rest

        resume_rest(self, guest, uri, options)

    def arrived(self, guest: Guest) -> None:
        """See :func:`polyvisor_qemu.postcopy.arrived`."""
        from polyvisor_qemu.postcopy import arrived

        arrived(self, guest)
