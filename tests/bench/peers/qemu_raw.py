"""Times QEMU driven by hand over QMP: ``qemu_raw.py FOLDER ROUNDS [plainly]``; prints JSON.

The same machine as in ``qemu_ours.py``, driven as well as is known how: it waits for events,
writes and reads save images through a descriptor handed over, and flushes them. Plainly, it is
driven as most scripts do: images go through a shell's ``cat`` and are left to the page cache, its
monitor's socket is tried every millisecond until it is there, and it is asked as often how far it
is, and whether its guest runs.
"""

import array
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
from time import perf_counter, sleep

from timing import let_count

MIB = 1 << 20
#: Machines to be killed if something fails.
ALIVE = []


def disk(path):
    """Return what gives a machine the node ``disk``."""
    drive = {"driver": "file", "filename": path, "node-name": "file"}
    node = {"driver": "raw", "file": "file", "node-name": "disk"}
    return ["-blockdev", json.dumps(drive), "-blockdev", json.dumps(node)]


def tick(folder):
    """Return the devices of the guest that counts."""
    return [
        *disk(f"{folder}/tick.img"),
        "-device", "ide-hd,bus=ide.0,unit=0,drive=disk,bootindex=1",
        "-chardev", f"file,id=serial,path={folder}/tick.log,append=on",
        "-device", "isa-serial,chardev=serial",
    ]  # fmt: skip


class Machine:
    """One QEMU and its monitor.

    Without ``wait`` it is only started; :meth:`ready` waits for it. Plainly, it makes its monitor's
    socket itself, and may run a shell.
    """

    def __init__(self, folder, name, *more, memory=64, devices=None, wait=True, plainly=False):
        path = f"{folder}/{name}.qmp"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with socket.socket(socket.AF_UNIX) as listener:
            if not plainly:
                listener.bind(path)
                listener.listen(1)
            where = f"path={path}" if plainly else f"fd={listener.fileno()}"
            spawn = "allow" if plainly else "deny"
            ram = {"qom-type": "memory-backend-ram", "id": "ram", "size": memory * MIB}
            self.process = subprocess.Popen(
                [
                    shutil.which("qemu-system-x86_64"),
                    "-name", f"guest={name}",
                    "-S", "-no-user-config", "-nodefaults", "-display", "none",
                    "-machine", "pc,usb=off,dump-guest-core=off,memory-backend=ram,acpi=off",
                    "-accel", "tcg", "-m", str(memory), "-smp", "1", "-rtc", "base=utc",
                    "-object", json.dumps(ram),
                    "-boot", "strict=on",
                    *(tick(folder) if devices is None else devices),
                    "-chardev", f"socket,id=qmp,{where},server=on,wait=off",
                    "-mon", "chardev=qmp,mode=control",
                    "-sandbox", f"on,obsolete=deny,elevateprivileges=deny,spawn={spawn}",
                    *more,
                ],
                pass_fds=(listener.fileno(),),
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        ALIVE.append(self)
        self.socket = socket.socket(socket.AF_UNIX)
        while self.socket.connect_ex(path) and self.process.poll() is None:
            sleep(0.001)
        self.lines = self.socket.makefile("r")
        self.events = []
        #: When each event came last, by QEMU's own clock.
        self.when = {}
        if wait:
            self.ready()

    def ready(self):
        """Wait until it answers."""
        json.loads(self.lines.readline())
        self("qmp_capabilities")

    def __call__(self, command, fd=None, **arguments):
        """Return the answer to a command."""
        line = json.dumps({"execute": command, "arguments": arguments}).encode()
        sent = (
            [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        )
        self.socket.sendmsg([line], sent)
        while True:
            answer = self.read()
            if "event" in answer:
                self.events.append(answer)
                continue
            return answer["return"]

    def read(self):
        """Return the next answer or event."""
        answer = json.loads(self.lines.readline())
        if "event" in answer:
            stamp = answer["timestamp"]
            self.when[answer["event"]] = stamp["seconds"] + stamp["microseconds"] / 1e6
        return answer

    def until(self, event, **data):
        """Wait for an event."""
        while True:
            while self.events:
                seen = self.events.pop(0)
                if seen["event"] == event and data.items() <= seen.get("data", {}).items():
                    return
            self.events.append(self.read())

    def migration_events(self):
        """Let QEMU say when a migration comes to its end, and not hold it back."""
        self("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        self("migrate-set-parameters", **{"max-bandwidth": (1 << 63) - 1})

    def quit(self):
        """End it in good order."""
        self("quit")
        self.ended()

    def ended(self):
        """Wait for its end."""
        self.process.wait()
        ALIVE.remove(self)
        self.lines.close()
        self.socket.close()


class Well:
    """The ways of a driver that wakes up when there is something to do."""

    def __init__(self, folder):
        self.folder = folder
        self.image = f"{folder}/image"
        self.there = f"unix:{folder}/migration"

    def machine(self, name, *more):
        """Return a new machine."""
        return Machine(self.folder, name, *more)

    def save(self, machine):
        """Write a machine that stands still into the image."""
        machine.migration_events()
        machine("stop")
        image = os.open(self.image, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        machine("getfd", fd=image, fdname="image")
        machine("migrate", uri="fd:image")
        machine.until("MIGRATION", status="completed")
        os.fsync(image)
        os.close(image)

    def run(self, machine):
        """Let a machine's guest run."""
        machine("cont")

    def restore(self):
        """Return a machine of the image; it stands still."""
        machine = self.machine("a", "-incoming", "defer")
        machine.migration_events()
        image = os.open(self.image, os.O_RDONLY)
        machine("getfd", fd=image, fdname="image")
        machine("migrate-incoming", uri="fd:image")
        os.close(image)
        machine.until("MIGRATION", status="completed")
        return machine

    def move(self, machine):
        """Return the machine in another process; it stands still."""
        other = self.machine("b", "-incoming", "defer")
        other.migration_events()
        other("migrate-incoming", uri=self.there)
        machine.migration_events()
        machine("migrate", uri=self.there)
        machine.until("MIGRATION", status="completed")
        other.until("MIGRATION", status="completed")
        return other


class Plainly(Well):
    """The ways of a driver that asks again and again."""

    def machine(self, name, *more):
        """Return a new machine."""
        return Machine(self.folder, name, *more, plainly=True)

    def run(self, machine):
        """Let a machine's guest run, and see it run."""
        machine("cont")
        while machine("query-status")["status"] != "running":
            sleep(0.001)

    def save(self, machine):
        """Write a machine that stands still into the image."""
        machine("stop")
        machine("migrate", uri=f"exec:cat > {self.image}")
        self.sent(machine)

    def restore(self):
        """Return a machine of the image; it stands still."""
        return self.arrived(self.machine("a", "-incoming", f"exec:cat {self.image}"))

    def move(self, machine):
        """Return the machine in another process; it stands still."""
        other = self.machine("b", "-incoming", self.there)
        machine("migrate", uri=self.there)
        self.sent(machine)
        return self.arrived(other)

    def sent(self, machine):
        """Wait until everything is written."""
        while (status := machine("query-migrate")["status"]) != "completed":
            assert status in {"setup", "active", "device"}, status
            sleep(0.001)

    def arrived(self, machine):
        """Wait until everything is read; return the machine."""
        while machine("query-status")["status"] == "inmigrate":
            sleep(0.001)
        return machine


def cycle(folder, note, seen, ways):
    """Do everything once."""
    begun = perf_counter()
    machine = ways.machine("a")
    ways.run(machine)
    machine.until("RESUME")
    note("start", begun)
    let_count(f"{folder}/tick.log")

    begun = perf_counter()
    machine("stop")
    note("suspend", begun)
    begun = perf_counter()
    machine("cont")
    note("resume", begun)

    begun = perf_counter()
    ways.save(machine)
    machine.quit()
    note("save", begun)

    begun = perf_counter()
    machine = ways.restore()
    ways.run(machine)
    note("restore", begun)
    let_count(f"{folder}/tick.log")

    begun = perf_counter()
    other = ways.move(machine)
    ways.run(other)
    machine.quit()
    note("live migration", begun)
    other.until("RESUME")
    seen.setdefault("downtime", []).append(other.when["RESUME"] - machine.when["STOP"])
    let_count(f"{folder}/tick.log")

    begun = perf_counter()
    other.process.send_signal(signal.SIGTERM)
    other.ended()
    note("destroy", begun)


def main(folder, rounds, how="well"):
    """Print the medians of some rounds."""
    seen = {}
    ways = {"well": Well, "plainly": Plainly}[how](folder)

    def note(name, begun):
        seen.setdefault(name, []).append(perf_counter() - begun)

    try:
        for _ in range(rounds):
            cycle(folder, note, seen, ways)
    finally:
        for left in ALIVE:
            left.process.kill()
            left.process.wait()
    print(json.dumps({name: statistics.median(taken) for name, taken in seen.items()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
