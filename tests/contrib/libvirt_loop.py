"""A script with a loop of its own, that of ``libvirtaio``: ``libvirt_loop.py URI``."""

import asyncio
import sys

import libvirt
import libvirtaio

GUEST = """<domain type='test'><name>p</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""


async def main():
    """Hear of a guest's life in asyncio's loop."""
    libvirtaio.virEventRegisterAsyncIOImpl()
    done, seen, timed = asyncio.Event(), [], asyncio.Event()
    host = await asyncio.to_thread(libvirt.open, sys.argv[1])

    def heard(conn, dom, event, detail, opaque):
        seen.append((dom.name(), event, detail, opaque))
        if event == libvirt.VIR_DOMAIN_EVENT_UNDEFINED:
            done.set()

    number = host.domainEventRegisterAny(None, 0, heard, "x")
    libvirt.virEventAddTimeout(20, lambda timer, opaque: timed.set(), None)
    dom = host.defineXML(GUEST)
    dom.create()
    dom.destroy()
    dom.undefine()
    await asyncio.wait_for(done.wait(), 40)
    await asyncio.wait_for(timed.wait(), 40)
    host.domainEventDeregisterAny(number)
    print(seen)


asyncio.run(main())
