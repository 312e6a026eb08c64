"""Our client on what changes about a guest of QEMU, behind polyvisord and behind libvirtd."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from served import need
from test_client_qemu import guest
from test_virsh_qemu import Both, both

from polyvisor.errors import PolyvisorError
from polyvisor.events import EventKind

if TYPE_CHECKING:
    from polyvisor.domain import Domain

pytestmark = pytest.mark.real

__all__ = ["both", "guest"]

MIB = 1 << 20


def write(domain: Domain, offset: int) -> None:
    """Have the machine's disk write something."""
    asked = json.loads(domain.debug.command('{"execute":"query-block"}'))
    device = next(one["qdev"] for one in asked["return"] if "virtio" in one["qdev"])
    domain.debug.command(f'qemu-io -d {device} "write {offset} 64k"', human=True)


def test_a_write_beyond_a_threshold_is_told(guest: Domain) -> None:
    """Once, with the disk, its file and both numbers; a write below it is not."""
    heard = guest.connection.events(timeout=60)
    guest.disks.set_threshold("vda", 2 * MIB)
    write(guest, 0)
    write(guest, 64 << 10)
    for number in range(2, 40):
        write(guest, number * (64 << 10))
    event = next(one for one in heard if one.kind is EventKind.GUEST)
    assert event.detail == "block-threshold"
    source = guest.spec().devices.disks[0].source
    assert source is not None
    assert (event.data["disk"], event.data["path"]) == ("vda", source.file)
    assert event.data["threshold"] == 2 * MIB
    assert event.data["excess"] > 0
    with pytest.raises(PolyvisorError):
        guest.disks.set_threshold("nothing", MIB)


def test_limits_of_migrations_are_kept(guest: Domain) -> None:
    """Nobody has to be under way for them to be set, and what was set is told."""
    before = guest.migration_limits()
    assert before.bandwidth is None
    assert before.downtime == 0.3
    guest.set_migration_limits(bandwidth=50 * MIB, post_copy_bandwidth=20 * MIB, downtime=1.5)
    guest.set_migration_limits(xbzrle_cache=4 * MIB)
    after = guest.migration_limits()
    assert (after.bandwidth, after.post_copy_bandwidth) == (50 * MIB, 20 * MIB)
    assert (after.downtime, after.xbzrle_cache) == (1.5, 4 * MIB)


def test_io_threads_come_and_go(guest: Domain) -> None:
    """QEMU has what was added, with the values that were set."""
    guest.add_iothread(6)
    guest.set_iothread(6, {"poll_max_ns": 8000, "thread_pool_min": 1, "thread_pool_max": 9})
    asked = json.loads(guest.debug.command('{"execute":"query-iothreads"}'))
    assert [one["poll-max-ns"] for one in asked["return"] if one["id"] == "iothread6"] == [8000]
    assert guest.spec().iothreads == 3
    with pytest.raises(PolyvisorError):
        guest.add_iothread(6)
    guest.remove_iothread(6)
    asked = json.loads(guest.debug.command('{"execute":"query-iothreads"}'))
    assert "iothread6" not in {one["id"] for one in asked["return"]}
    assert guest.spec().iothreads == 2


def test_a_guest_ends_as_it_is_told(guest: Domain) -> None:
    """A reset that is to destroy a guest does so, though it was started to come back."""
    guest.set_lifecycle_action("reboot", "destroy")
    assert guest.spec().on_reboot == "destroy"
    assert guest.spec(inactive=True).on_reboot == "restart"
    guest.debug.command("system_reset", human=True)
    guest.wait(timeout=60)
    guest.rename("h")
    assert guest.connection.domains["h"] == guest
    assert guest.spec().name == "h"
    guest.rename("g")


def test_virsh_hears_of_a_threshold(both: Both) -> None:
    """What it prints of the event is the same on both sides."""
    said = {}
    for side in both.uris:
        both.said("define {folder}/{side}.xml")
        both.said("start g")
        command = [need("virsh", "libvirt-clients"), "-c", both.uris[side], "event", "g"]
        command += ["--event", "block-threshold", "--timeout", "120"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as virsh:
            block = 0
            deadline = time.monotonic() + 60
            while virsh.poll() is None:  # It says nothing of when it has begun to listen.
                assert time.monotonic() < deadline, "the event never comes"
                both.said("domblkthreshold g vda 65536")
                device = "/machine/peripheral/virtio-disk0/virtio-backend"
                both.said(
                    f"qemu-monitor-command g --hmp 'qemu-io -d {device} \"write {block} 64k\"'"
                )
                block = (block + (64 << 10)) % (8 * MIB)
            assert virsh.stdout is not None
            text = virsh.stdout.read()
        text = text.replace(f"{both.folder}/{side}", "FILE")
        said[side] = re.sub(r"65536 \d+", "65536 EXCESS", text)
        assert "EXCESS" in said[side]
    assert said["a"] == said["b"]


def test_what_sleeps_is_woken(guest: Domain) -> None:
    """A machine that does not sleep cannot be woken, and an agent that is not there not asked."""
    with pytest.raises(PolyvisorError, match="not in suspended state"):
        guest.debug.wakeup()
    with pytest.raises(PolyvisorError):
        guest.agent.suspend("disk", timeout=1)


def test_figures_of_memory_are_asked_for(guest: Domain) -> None:
    """The balloon of the guest, and that of the definition, each for itself."""
    guest.set_memory_stats_period(3)
    path = {"path": "/machine/peripheral/balloon0", "property": "guest-stats-polling-interval"}
    asked = {"execute": "qom-get", "arguments": path}
    assert json.loads(guest.debug.command(json.dumps(asked)))["return"] == 3
    guest.set_memory_stats_period(5, live=False, config=True)
    for inactive, period in ((False, 3), (True, 5)):
        balloon = guest.spec(inactive=inactive).devices.memballoon
        assert balloon is not None
        assert balloon.stats_period == period


def test_a_channel_is_a_stream(guest: Domain) -> None:
    """What is written at the guest's end of a channel is read at ours, by its alias."""
    channel = "<channel type='unix'><target type='virtio' name='a.b'/></channel>"
    guest.attach_device(channel)
    opened = guest.open_console("channel1")
    os.close(opened)
    with pytest.raises(PolyvisorError):
        guest.open_console("channel7")


def test_virsh_hears_what_monitors_tell(both: Both) -> None:
    """Events that QEMU tells and domains' listeners are not told, as libvirtd passes them on."""
    said = {}
    for side in both.uris:
        both.said("define {folder}/{side}.xml")
        both.said("start g")
        command = [need("virsh", "libvirt-clients"), "-c", both.uris[side], "qemu-monitor-event"]
        command += ["g", "--event", "^stop$", "--regex", "--no-case", "--timeout", "120"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as virsh:
            deadline = time.monotonic() + 60
            while virsh.poll() is None:  # It says nothing of when it has begun to listen.
                assert time.monotonic() < deadline, "the event never comes"
                both.said("suspend g")
                both.said("resume g")
            assert virsh.stdout is not None
            said[side] = re.sub(r"\d+\.\d+", "TIME", virsh.stdout.read())
        assert "STOP at TIME" in said[side]
    assert said["a"] == said["b"]


def test_a_client_hears_what_monitors_tell(guest: Domain) -> None:
    """Every event of QEMU's own, with what it says; domains' listeners hear none of that."""
    told = guest.debug.events(timeout=60)
    heard = guest.connection.events(timeout=60)
    guest.suspend()
    guest.resume()
    event = next(told)
    assert (event.name, event.details) == ("STOP", None)
    assert event.domain.name == "g"
    assert abs(event.time - time.time()) < 600
    assert next(told).name == "RESUME"
    kinds = [next(heard).kind, next(heard).kind]
    assert kinds == [EventKind.SUSPENDED, EventKind.RESUMED]


def test_descriptors_go_with_a_command(guest: Domain) -> None:
    """QEMU has in its set what was open here, as long as somebody listens to it."""
    listening = guest.connection.events(timeout=60)
    asked = '{"execute":"add-fd","arguments":{"fdset-id":7,"opaque":"ours"}}'
    deadline = time.monotonic() + 60
    found: list[dict[str, Any]] = []
    with open(os.devnull, "rb") as file:
        while not found:  # Nobody tells when the one who listens has come so far.
            assert time.monotonic() < deadline, "QEMU keeps nothing"
            assert "return" in json.loads(guest.debug.command(asked, fds=[file.fileno()]))
            found = json.loads(guest.debug.command('{"execute":"query-fdsets"}'))["return"]
        assert not file.closed
    assert {(one["fdset-id"], fd["opaque"]) for one in found for fd in one["fds"]} == {(7, "ours")}
    assert "error" in guest.debug.command(asked)
    del listening


def test_virsh_sends_descriptors_along(both: Both) -> None:
    """As libvirtd takes them."""
    said = {}
    for side, uri in both.uris.items():
        both.said("define {folder}/{side}.xml")
        both.said("start g")
        with open(os.devnull, "rb") as file:
            command = [need("virsh", "libvirt-clients"), "-c", uri, "qemu-monitor-command", "g"]
            command += [f"--pass-fds={file.fileno()}", "--return-value"]
            command += ['{"execute":"add-fd","arguments":{"fdset-id":9}}']
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=60,
                pass_fds=[file.fileno()],
            )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said[side] = sorted(json.loads(done.stdout))
    assert said["a"] == said["b"]
