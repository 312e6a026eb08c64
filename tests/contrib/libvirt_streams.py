"""A script for libvirt's binding, or for ours: ``libvirt_streams.py HERE THERE FOLDER P2P``.

Streams, events of all kinds of objects, a descriptor and a timer in the loop, and a guest that
moves from one URI to the other; ``P2P`` is how the source's server can open the other. Prints
JSON: what calls returned, or an error's number.
"""

import contextlib
import json
import os
import sys
import threading
import time

import libvirt

GUEST = """<domain type='sim'><name>g</name><uuid>11111111-2222-3333-4444-555555555555</uuid>
<memory unit='MiB'>16</memory><vcpu>1</vcpu><os><type>hvm</type></os>
<devices><serial type='pty'/><video/></devices></domain>"""
NETWORK = "<network><name>n</name><uuid>11111111-2222-3333-4444-666666666666</uuid></network>"
SECRET = """<secret ephemeral='no' private='no'><uuid>11111111-2222-3333-4444-777777777777</uuid>
<usage type='ceph'><name>mine</name></usage></secret>"""
here_uri, there_uri, folder, p2p = sys.argv[1:]
POOL = f"<pool type='dir'><name>p</name><target><path>{folder}</path></target></pool>"
VOLUME = "<volume><name>v</name><capacity>1048576</capacity></volume>"
said, heard = [], []


def say(*words):
    """Note what calls returned."""
    said.append([repr(word) for word in words])


def refused(call):
    """Note the number of a call's error."""
    try:
        say("no error", call())
    except libvirt.libvirtError as error:
        say(error.get_error_code())


def until(condition):
    """Wait until something is so."""
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline, (said, heard)
        time.sleep(0.01)


def loop():
    """Run the loop of events."""
    while True:
        libvirt.virEventRunDefaultImpl()


libvirt.registerErrorHandler(lambda *_: None, None)
libvirt.virEventRegisterDefaultImpl()
# A timer that comes often keeps the loop from sleeping through what threads change.
ticks = []
timer = libvirt.virEventAddTimeout(10, lambda number, opaque: ticks.append(opaque), "tick")
threading.Thread(target=loop, daemon=True).start()
here, there = libvirt.open(here_uri), libvirt.open(there_uri)
until(lambda: len(ticks) > 2)
say(ticks[0])

reading, writing = os.pipe()
came = []


def readable(watch, fd, events, opaque):
    """Note what came over the pipe."""
    came.append((fd == reading, events, os.read(fd, 100).decode(), opaque))


watch = libvirt.virEventAddHandle(reading, libvirt.VIR_EVENT_HANDLE_READABLE, readable, "pipe")
os.write(writing, b"one")
until(lambda: came)
libvirt.virEventUpdateHandle(watch, 0)
os.write(writing, b"two")
time.sleep(0.1)
say(came)
libvirt.virEventUpdateHandle(watch, libvirt.VIR_EVENT_HANDLE_READABLE)
until(lambda: len(came) == 2)
say(came[1], libvirt.virEventRemoveHandle(watch))

# Events

numbers = [
    here.networkEventRegisterAny(
        None,
        libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE,
        lambda conn, net, event, detail, opaque: heard.append((net.name(), event, opaque)),
        "net",
    ),
    here.secretEventRegisterAny(
        None,
        libvirt.VIR_SECRET_EVENT_ID_LIFECYCLE,
        lambda conn, secret, event, detail, opaque: heard.append((secret.usageID(), event, opaque)),
        "secret",
    ),
    here.secretEventRegisterAny(
        None,
        libvirt.VIR_SECRET_EVENT_ID_VALUE_CHANGED,
        lambda conn, secret, opaque: heard.append((secret.UUIDString(), opaque)),
        "value",
    ),
    here.storagePoolEventRegisterAny(
        None,
        libvirt.VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE,
        lambda conn, pool, event, detail, opaque: heard.append((pool.name(), event, opaque)),
        "pool",
    ),
    here.storagePoolEventRegisterAny(
        None,
        libvirt.VIR_STORAGE_POOL_EVENT_ID_REFRESH,
        lambda conn, pool, opaque: heard.append((pool.name(), opaque)),
        "refresh",
    ),
]
try:
    here.networkEventRegisterAny(None, 99, lambda *_: None, None)
except libvirt.libvirtError:
    say("there is no such event")
network = here.networkDefineXML(NETWORK)
until(lambda: heard)
alone = here.networkEventRegisterAny(
    network, 0, lambda conn, net, event, *_: heard.append((net.name(), event, "alone")), None
)
network.create()
network.destroy()
until(lambda: len(heard) == 5)
say(heard[:])
here.networkEventDeregisterAny(alone)
here.networkEventDeregisterAny(numbers[0])
network.undefine()
del heard[:]
secret = here.secretDefineXML(SECRET)
secret.setValue(b"pencil")
say(secret.value())
secret.undefine()
until(lambda: len(heard) == 3)
say(heard[:])
del heard[:]

# Content of volumes

pool = here.storagePoolCreateXML(POOL, 0)
pool.refresh(0)
until(lambda: len(heard) == 2)
say(heard[:])
volume = pool.createXML(VOLUME, 0)
content = os.urandom(300000)
pieces = [content[:1000], content[1000:200000], content[200000:], b""]
stream = here.newStream()
say(volume.upload(stream, 100, len(content)))
say(stream.sendAll(lambda st, nbytes, opaque: pieces.pop(0), None), stream.finish())
found = []
stream = here.newStream(0)
say(volume.download(stream, 100, len(content)))
say(stream.recvAll(lambda st, data, opaque: found.append(data), None), stream.finish())
say(b"".join(found) == content)
stream = here.newStream()
volume.download(stream, 100, 10)
first = stream.recv(4)
say(first + stream.recv(100) == content[:10], stream.recv(100), stream.finish())
stream = here.newStream()
volume.upload(stream, 0, 10)
say(stream.send(b"0123456789"), stream.finish())


def fails(*_):
    """Fail in the middle."""
    raise ValueError("wrong")


stream = here.newStream()
volume.download(stream, 0, 0)
try:
    stream.recvAll(fails, None)
except ValueError as error:
    say(str(error))

# With holes: data, a hole of half a mebibyte, data

parts = [(True, b"begin" * 800), (False, 1 << 19), (True, b"end" * 1000)]
total = sum(size if not data else len(size) for data, size in parts)


def section(stream, opaque):
    """Say what comes next, and of how many bytes."""
    if not parts:
        return [False, 0]
    data, size = parts[0]
    return [data, len(size) if data else size]


def given(stream, nbytes, opaque):
    """Give the data that comes next."""
    return parts.pop(0)[1][:nbytes] if parts else b""


def skipped(stream, length, opaque):
    """Pass a hole."""
    parts.pop(0)
    return 0


volume.delete()
volume = pool.createXML(VOLUME, 0)
stream = here.newStream()
say(volume.upload(stream, 0, total, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM))
say(stream.sparseSendAll(given, section, skipped, None), stream.finish())
got, holes = [], []
stream = here.newStream()
say(volume.download(stream, 0, total, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM))
taken = stream.sparseRecvAll(
    lambda st, data, opaque: got.append(data),
    lambda st, length, opaque: holes.append(length),
    None,
)
say(taken, stream.finish())
say(b"".join(got).startswith(b"begin" * 800), b"".join(got).endswith(b"end"), bool(holes))
say(sum(map(len, got)) + sum(holes) == total)
refused(lambda: volume.download(here.newStream(), 1 << 40, 0))
refused(lambda: here.newStream().recv(1))
pool.destroy()

# Consoles and pictures

dom = here.defineXML(GUEST)
dom.create()
stream = here.newStream()
kind = dom.screenshot(stream, 0)
found = []
stream.recvAll(lambda st, data, opaque: found.append(data), None)
say(kind, b"".join(found)[:4], stream.finish())
stream = here.newStream(libvirt.VIR_STREAM_NONBLOCK)
dom.openConsole(None, stream)
lines = bytearray()


def console(st, events, opaque):
    """Take what the guest says."""
    data = st.recv(1024)
    while isinstance(data, bytes) and data:
        lines.extend(data)
        data = st.recv(1024)


stream.eventAddCallback(libvirt.VIR_STREAM_EVENT_READABLE, console, None)
until(lambda: b"tick 000" in lines)
say(stream.eventRemoveCallback())
with contextlib.suppress(libvirt.libvirtError):
    stream.abort()  # That it was aborted some take for an error.
refused(lambda: dom.openConsole("nosuch", here.newStream()))

# From one host to the other

moved = dom.migrate3(there, {libvirt.VIR_MIGRATE_PARAM_DEST_NAME: "h"}, libvirt.VIR_MIGRATE_LIVE)
say(moved.name(), moved.UUIDString(), moved.isActive(), moved.isPersistent(), dom.isActive())
say(dom.create())
# Both sides have one of its UUID now.
refused(lambda: dom.migrate(there, libvirt.VIR_MIGRATE_LIVE, None, None, 0))
say(dom.isActive(), dom.state(), dom.destroy(), moved.destroy())
dom.create()
say(dom.migrateToURI3(p2p, {}, libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_LIVE))
moved = there.lookupByName("g")
say(moved.isActive(), dom.isActive())
refused(lambda: moved.migrateToURI(p2p, libvirt.VIR_MIGRATE_LIVE, None, 0))
back = moved.migrate2(here, None, libvirt.VIR_MIGRATE_PAUSED, None, None, 0)
say(back.state()[0], back.destroy(), dom.undefine())
say(here.close() >= 0, there.close() >= 0)
print(json.dumps(said))
