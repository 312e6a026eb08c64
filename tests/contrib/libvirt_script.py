"""A script for libvirt's binding, or for ours: ``libvirt_script.py URI``; prints JSON.

Each line of what it prints is what calls returned, or an error's number and words.
"""

import json
import sys
import threading

import libvirt

GUEST = """<domain type='test'><name>p</name><uuid>11111111-2222-3333-4444-555555555555</uuid>
<memory unit='MiB'>16</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>"""
SNAPSHOT = "<domainsnapshot><name>one</name></domainsnapshot>"
NETWORK = "<network><name>n</name><uuid>11111111-2222-3333-4444-666666666666</uuid></network>"
OTHER = "99999999-2222-3333-4444-555555555555"
said, seen, done = [], [], threading.Event()


def say(*words):
    """Note what calls returned."""
    said.append([repr(word) for word in words])


def refused(call):
    """Note the error of a call."""
    try:
        say("no error", call())
    except libvirt.libvirtError as error:
        say(error.get_error_code(), error.get_error_message(), str(error), error.get_error_level())


def heard(conn, dom, event, detail, opaque):
    """Note an event."""
    seen.append((dom.name(), event, detail, opaque))
    if event == libvirt.VIR_DOMAIN_EVENT_UNDEFINED:
        done.set()


def loop():
    """Run the loop of events."""
    while True:
        libvirt.virEventRunDefaultImpl()


libvirt.registerErrorHandler(lambda *_: None, None)
libvirt.virEventRegisterDefaultImpl()
threading.Thread(target=loop, daemon=True).start()
host = libvirt.open(sys.argv[1])
number = host.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, heard, "x")
say(host.getType(), host.isAlive(), host.numOfDomains(), host.listDefinedDomains())
say(len(host.listAllDomains()), host.listDomainsID())
dom = host.defineXML(GUEST)
say(dom.name(), dom.UUIDString(), dom.ID(), dom.isActive(), dom.isPersistent(), dom.info())
say(dom.state(), dom.OSType(), dom.maxMemory(), dom.UUID(), dom.connect().getHostname())
say(dom.create(), dom.isActive(), dom.ID() > 0, dom.state(), dom.info()[:4])
say(dom.suspend(), dom.state(), dom.resume(), dom.state(0))
say(dom.autostart(), dom.setAutostart(1), dom.autostart())
say(dom.addIOThread(3, 1), dom.pinIOThread(3, (True, False), 1))
say(dom.setIOThreadParams(3, {"poll_max_ns": 100}, 1), dom.delIOThread(3, 1))
say(dom.setLifecycleAction(1, 0, 1), "<on_reboot>destroy" in dom.XMLDesc(0))
refused(lambda: dom.delIOThread(3, 1))
refused(lambda: dom.setBlockThreshold("vda", 1))
refused(dom.pMWakeup)
refused(lambda: dom.setMemoryStatsPeriod(2, 1))
say(dom.perfEvents(2)["cmt"])
say(dom.hasManagedSaveImage(), dom.snapshotNum(), dom.snapshotListNames())
snapshot = dom.snapshotCreateXML(SNAPSHOT, 0)
say(snapshot.getName(), dom.snapshotListNames(), dom.snapshotCurrent().getName())
say([one.getName() for one in dom.listAllSnapshots()], snapshot.getDomain().name())
say(snapshot.isCurrent(), dom.revertToSnapshot(snapshot), snapshot.delete())
say(sorted(host.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE)[-1][1]))
say([one.name() for one in host.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)])
say([each[0].name() for each in host.domainListGetStats([dom])])
refused(lambda: host.lookupByName("nosuch"))
refused(lambda: host.lookupByID(9999))
refused(lambda: host.lookupByUUIDString(OTHER))
refused(lambda: host.defineXML("<domain"))
refused(dom.create)
refused(lambda: dom.undefineFlags(1 << 20))
refused(lambda: dom.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None))
say(dom.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, "t", None, None))
say(dom.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None))
say(dom.vcpusFlags(), dom.maxVcpus(), dom.XMLDesc().count("<memory"), dom.schedulerType())
say(dom.managedSave(), dom.hasManagedSaveImage(), dom.managedSaveRemove(), dom.create())
say(dom.destroy())
refused(dom.destroy)
say(dom.undefine())
refused(dom.info)
refused(lambda: host.createXML("<network/>", 0))
network = host.networkDefineXML(NETWORK)
say(network.name(), network.isActive(), network.create(), network.isActive(), network.autostart())
say([one.name() for one in host.listAllNetworks()], network.destroy(), network.undefine())
refused(lambda: host.networkLookupByName("nosuch"))
assert done.wait(20), seen
host.domainEventDeregisterAny(number)
say(seen)
say(host.close() >= 0)
print(json.dumps(said))
