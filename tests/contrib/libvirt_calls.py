"""Calls of libvirt's binding, or of ours, one by one: ``libvirt_calls.py URI XML``; prints JSON.

What each returned, or its error's number and words, by what was called.
"""

import json
import re
import sys

import libvirt

said = {}
#: What differs from one moment, or from one client, to the next.
MOVING = re.compile(r"(kernel|user|idle|iowait|utilization|free|cached|buffers|_time)': \d+")


def tried(name, call):
    """Note what a call returned; return that."""
    try:
        found = call()
    except libvirt.libvirtError as error:
        said[name] = [error.get_error_code(), error.get_error_message()]
        return None
    said[name] = MOVING.sub(r"\1", repr(found))
    return found


libvirt.registerErrorHandler(lambda *_: None, None)
host = libvirt.open(sys.argv[1])
with open(sys.argv[2]) as file:
    dom = host.defineXML(file.read())
dom.create()
LIVE, CONFIG = 1, 2
tried("vcpus", lambda: [[one[0] for one in dom.vcpus()[0]], dom.vcpus()[1]])
count = host.getCPUMap()[0]
both = tuple(number < 1 for number in range(count))
tried("pinVcpu", lambda: dom.pinVcpu(0, both))
tried("pinVcpuFlags", lambda: dom.pinVcpuFlags(0, both, CONFIG))
tried("vcpuPinInfo", lambda: dom.vcpuPinInfo(CONFIG))
tried("pinEmulator", lambda: dom.pinEmulator(both, CONFIG))
tried("emulatorPinInfo", lambda: dom.emulatorPinInfo(CONFIG))
tried("ioThreadInfo", lambda: dom.ioThreadInfo(CONFIG))
for name in ("blkioParameters", "memoryParameters", "numaParameters", "schedulerParametersFlags"):
    tried(name, lambda name=name: sorted(getattr(dom, name)(CONFIG).items()))
tried("setMemoryParameters", lambda: dom.setMemoryParameters({"hard_limit": 1 << 21}, CONFIG))
tried("memory", lambda: dom.memoryParameters(CONFIG)["hard_limit"])
tried("setBlkioParameters", lambda: dom.setBlkioParameters({"weight": 200}, CONFIG))
tried("blkio", lambda: dom.blkioParameters(CONFIG)["weight"])
tried("setNumaParameters", lambda: dom.setNumaParameters({"numa_nodeset": "0"}, CONFIG))
tried("numa", lambda: dom.numaParameters(CONFIG))
shares = {"cpu_shares": 2048, "vcpu_quota": -1}
tried("setScheduler", lambda: dom.setSchedulerParametersFlags(shares, CONFIG))
tried("scheduler", lambda: dom.schedulerParametersFlags(CONFIG)["cpu_shares"])
tried("setBlockIoTune", lambda: dom.setBlockIoTune("vda", {"total_bytes_sec": 1 << 20}, CONFIG))
tried("blockIoTune", lambda: sorted(dom.blockIoTune("vda", CONFIG).items()))
tried("setInterface", lambda: dom.setInterfaceParameters("x", {"inbound.average": 1}, CONFIG))
tried("interface", lambda: dom.interfaceParameters("x", CONFIG))
tried("getCPUStats", lambda: [sorted(one) for one in dom.getCPUStats(True)])
tried("getCPUStats each", lambda: [sorted(one) for one in dom.getCPUStats(False)])
tried("getTime", dom.getTime)
tried("setTime", lambda: dom.setTime({"seconds": 1, "nseconds": 2}))
tried("fsInfo", dom.fsInfo)
tried("interfaceAddresses", lambda: dom.interfaceAddresses(0))
tried("setGuestVcpus", lambda: dom.setGuestVcpus("0", 1))
tried("authorizedSSHKeysGet", lambda: dom.authorizedSSHKeysGet("root"))
tried("authorizedSSHKeysSet", lambda: dom.authorizedSSHKeysSet("root", ["ssh-rsa x"]))
tried("setUserPassword", lambda: dom.setUserPassword("root", "x"))
tried("fSTrim", lambda: dom.fSTrim(None, 0))
tried("sendKey", lambda: dom.sendKey(0, 1, [30, 31], 2))
tried("sendProcessSignal", lambda: dom.sendProcessSignal(1, 9))
tried("blockPeek", lambda: dom.blockPeek("vda", 0, 4))
tried("memoryPeek", lambda: dom.memoryPeek(0, 4, 2))
tried("controlInfo", dom.controlInfo)
tried("diskErrors", dom.diskErrors)
tried("messages", dom.messages)
tried("securityLabel", dom.securityLabel)
tried("securityLabelList", dom.securityLabelList)
tried("openGraphicsFD", lambda: dom.openGraphicsFD(0) >= 0)
tried("abortJobFlags", dom.abortJobFlags)
tried("managedSaveDefineXML", lambda: dom.managedSaveDefineXML("<domain/>"))
tried("saveParams", lambda: dom.saveParams({"file": "/nosuch/image"}))
tried("restoreParams", lambda: host.restoreParams({"file": "/nosuch/image"}))
tried("getCPUMap", host.getCPUMap)
tried("getCPUModelNames", lambda: sorted(host.getCPUModelNames("x86_64"))[:3])
tried("getCPUModelNames of none", lambda: host.getCPUModelNames("nosuch"))
tried("host's getCPUStats", lambda: host.getCPUStats(-1))
tried("getCellsFreeMemory", lambda: len(host.getCellsFreeMemory(0, 1)))
tried("getMemoryStats", lambda: sorted(host.getMemoryStats(-1)))
tried("getSecurityModel", host.getSecurityModel)
tried("findStoragePoolSources", lambda: host.findStoragePoolSources("dir", None))
tried("getStoragePoolCapabilities", host.getStoragePoolCapabilities)
tried("interfaceLookupByMACString", lambda: host.interfaceLookupByMACString("52:54:00:00:00:01"))
tried("interfaceDefineXML", lambda: host.interfaceDefineXML("<nothing/>"))
tried("changeBegin", host.changeBegin)
tried("suspendForDuration", lambda: host.suspendForDuration(9, 60))
for name in ("Secrets", "Interfaces", "DefinedInterfaces", "NWFilters", "DefinedStoragePools"):
    tried(name, lambda name=name: getattr(host, f"numOf{name}")())
    tried(f"list of {name}", lambda name=name: getattr(host, f"list{name}")())
nobody = b"nobody has this."
tried("networkLookupByUUID", lambda: host.networkLookupByUUID(nobody))
tried("secretLookupByUUID", lambda: host.secretLookupByUUID(nobody))
tried("nwfilterLookupByUUID", lambda: host.nwfilterLookupByUUID(nobody))
tried("storagePoolLookupByUUID", lambda: host.storagePoolLookupByUUID(nobody))
tried("storagePoolLookupByTargetPath", lambda: host.storagePoolLookupByTargetPath("/nosuch"))
tried("networkCreateXMLFlags", lambda: host.networkCreateXMLFlags("<nothing/>"))
tried("networkDefineXMLFlags", lambda: host.networkDefineXMLFlags("<nothing/>"))
tried("nwfilterDefineXMLFlags", lambda: host.nwfilterDefineXMLFlags("<nothing/>"))
tried("listAllNWFilterBindings", host.listAllNWFilterBindings)
tried("numOfDevices", lambda: host.numOfDevices(None) >= 0)
dom.destroy()
dom.undefine()
print(json.dumps(said))
