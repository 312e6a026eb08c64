"""What ``test:///default`` begins with: libvirt's host facts and its one domain.

From ``defaultNodeInfo`` and ``defaultConnXML`` of ``src/test/test_driver.c``. The domain
is put there as it comes out of being defined and started, without reading the definition:
most of those who open this host do not ask for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import UUID

from polyvisor.local import Guest
from polyvisor.state import Document, Record, boot_id
from polyvisor.states import DomainState, StateReason
from polyvisor_sim.machine import Machine
from polyvisor_sim.parameters import Parameters

if TYPE_CHECKING:
    from polyvisor.host import HostInfo
    from polyvisor.state import Home
    from polyvisor_sim.rack import Rack

__all__ = ["CELLS", "DOMAIN", "MACHINE", "begin", "facts"]

#: Memory in KiB of each NUMA node; each has eight CPUs.
CELLS = (2 << 20, 4 << 20)

#: As libvirt completes the definition when it opens the connection.
DOMAIN = """\
<domain type='test'>
  <name>test</name>
  <uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>
  <memory unit='KiB'>8388608</memory>
  <currentMemory unit='KiB'>2097152</currentMemory>
  <vcpu placement='static'>2</vcpu>
  <os>
    <type arch='i686'>hvm</type>
    <boot dev='hd'/>
  </os>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <source file='/guest/diskimage1'/>
      <target dev='vda' bus='virtio'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </disk>
    <interface type='network'>
      <mac address='aa:bb:cc:dd:ee:ff'/>
      <source network='default'/>
      <target dev='testnet0'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x0'/>
    </interface>
    <memballoon model='virtio'>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/>
    </memballoon>
  </devices>
</domain>
"""

#: The machine that this definition describes.
MACHINE = Machine(parameters=Parameters(), memory=8 << 30, balloon=2 << 30, vcpus=2)

_NAME, _UUID = "test", UUID("6695eb01-f6a4-8304-79aa-97f2502e193f")


def begin(home: Home, rack: Rack, time: int) -> None:
    """Put the domain into an empty host, running since ``time``."""
    number = home.store.next_id()
    definition = Document(text=DOMAIN)

    def live() -> str:
        import attrs

        return attrs.evolve(definition.spec(), id=number).to_xml()

    record = Record(
        uuid=_UUID,
        name=_NAME,
        definition=definition,
        live=Document(load=live),
        id=number,
        state=DomainState.RUNNING,
        reason=StateReason.BOOTED,
        boot_id=boot_id(),
    )
    home.store.put(record)
    guest = Guest(
        uuid=_UUID,
        name=_NAME,
        id=number,
        run_dir=None,
        log_dir=None,
        state=record.state,
        reason=record.reason,
        runtime={},
        load_spec=definition.spec,
    )
    rack.put(guest, MACHINE.resume(time))


def facts() -> HostInfo:
    """Return the facts about the host."""
    from polyvisor.host import HostInfo

    return HostInfo(
        hostname=os.uname().nodename,
        hypervisor="TEST",
        hypervisor_version="0.0.2",
        architecture="i686",
        memory=3 << 30,
        cpus=16,
        cpu_model="i686",
        cpu_mhz=1400,
        numa_nodes=2,
        sockets=2,
        cores=2,
        threads=2,
    )
