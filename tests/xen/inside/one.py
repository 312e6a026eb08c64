"""Runs in the control domain of one host: everything that takes no second one.

Each part notes what it has seen; what must hold of it stands in ``test_real_xen.py``.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from endings import ballooned, crashes, kept
from guests import Counter, note, run, start_libvirt, timed, until, virsh, xl, xl_config, xml
from hotplug import devices

import polyvisor
from polyvisor.driver import SaveOptions
from polyvisor.errors import PolyvisorError
from polyvisor.jobs import Job
from polyvisor.states import DomainState

PARTS: list[Callable[[polyvisor.Connection], None]] = []
#: Names of those that take long, and are left out unless they are asked for.
SLOW: set[str] = set()


def part(function: Callable[[polyvisor.Connection], None]) -> Callable[..., None]:
    """Make a function one of the parts, run in the order of their definition."""
    PARTS.append(function)
    return function


def slow_part(function: Callable[[polyvisor.Connection], None]) -> Callable[..., None]:
    """Take a function into the list, as one that takes long."""
    SLOW.add(function.__name__)
    return part(function)


def gone(host: polyvisor.Connection, name: str) -> None:
    """Clear a guest away, whoever made it."""
    try:
        domain = host.domains[name]
        if domain.active:
            domain.destroy()
        if host.domains.get(name) is not None and domain.info().persistent:
            domain.undefine(managed_save=True)
    except polyvisor.errors.NotFound:
        pass
    Counter(name).clear()


@part
def facts(host: polyvisor.Connection) -> None:
    """The host's facts, and its control domain."""
    note("host", [host.host.hypervisor, host.host.hypervisor_version])
    note("control", [[line.name, line.id, str(line.state)] for line in host.domains.summaries()])
    try:
        host.domains["Domain-0"].destroy()
    except PolyvisorError as error:
        note("control-refused", error.code)


@part
def pv(host: polyvisor.Connection) -> None:
    """A paravirtual guest counts through suspending, saving and restoring."""
    _of_kind(host, 1, "pv", 96)


@part
def pvh(host: polyvisor.Connection) -> None:
    """One that uses the processor's virtualisation does."""
    _of_kind(host, 2, "pvh", 112)


@slow_part
def hvm(host: polyvisor.Connection) -> None:
    """One on a whole emulated machine does; it takes a minute to boot."""
    _of_kind(host, 3, "hvm", 160)


def _of_kind(host: polyvisor.Connection, number: int, kind: str, memory: int) -> None:
    name, image, counter = f"k-{kind}", f"/tmp/{kind}.image", Counter(f"k-{kind}")
    domain = host.domains.define(xml(name, number, kind, memory))
    domain.start()
    counter.wait(4)
    domain.suspend()
    domain.resume()
    counter.wait(2)
    before = len(counter.numbers())
    domain.save(image)
    states = [str(domain.state)]
    host.domains.restore(image)
    os.unlink(image)
    states.append(str(domain.state))
    after = len(counter.wait(4))
    note(
        f"kind-{kind}",
        {"states": states, "whole": counter.whole(), "counted": [before, after]},
    )
    gone(host, name)


@part
def foreign(host: polyvisor.Connection) -> None:
    """What xl starts is there, can be worked with, and is forgotten when it goes."""
    xl("create", "-q", xl_config("by-xl", 10))
    counter = Counter("by-xl")
    counter.wait()
    domain = host.domains["by-xl"]
    info = domain.info()
    domain.suspend()
    paused = str(domain.state)
    domain.resume()
    spec = domain.spec()
    domain.save("/tmp/by-xl.image")
    left = host.domains.get("by-xl") is not None
    host.domains.restore("/tmp/by-xl.image")
    os.unlink("/tmp/by-xl.image")
    counter.wait()
    note(
        "foreign",
        {
            "persistent": info.persistent,
            "kernel": spec.os.kernel,
            "memory": spec.memory,
            "paused": paused,
            "left": left,
            "whole": counter.whole(),
        },
    )
    xl("destroy", "by-xl")
    note("foreign-gone", host.domains.get("by-xl") is None)


@part
def own_will(host: polyvisor.Connection) -> None:
    """A guest that crashes or is rebooted is dealt with as its definition says."""
    domain = host.domains.define(xml("wilful", 11).replace("quiet", "quiet rdinit=/nothing"))
    stream = host.events(timeout=60)
    domain.start()  # Linux panics without its first program
    seen = []
    for event in stream:
        if event.domain.name == "wilful":
            seen.append(f"{event.kind}/{event.detail}")
        if "stopped" in seen[-1:][0] if seen else False:
            break
    note("crash", {"events": seen, "status": [str(domain.state), str(domain.status().reason)]})
    gone(host, "wilful")


@part
def rebooted(host: polyvisor.Connection) -> None:
    """A guest that is rebooted is a new one under its name, which counts from 1."""
    domain = host.domains.define(xml("again", 17))
    domain.start()
    counter, number = Counter("again"), domain.info().id
    counter.wait()
    domain.reboot()
    until(lambda: domain.info().id not in (None, number), 120)
    until(lambda: counter.numbers().count(2) == 2, 120)
    listed = [line.name for line in host.domains.summaries()]
    note("rebooted", {"listed": listed.count("again"), "state": str(domain.state)})
    gone(host, "again")


for each in (crashes, kept, ballooned):
    part(each)


def _differing(one: object, other: object, path: str = "") -> Iterator[str]:
    """Give the places down to the second level at which two configurations differ."""
    if path.count("/") < 2 and isinstance(one, dict) and isinstance(other, dict):
        for name in one.keys() | other.keys():
            yield from _differing(one.get(name), other.get(name), f"{path}/{name}")
    elif one != other:
        yield path


@part
def described(host: polyvisor.Connection) -> None:
    """What ``xl list -l`` says of guests is read, and says the same when made again."""
    from polyvisor_libxl.domconfig import from_json, normalised, to_json

    with open(xl_config("told", 18), "a", encoding="utf-8") as file:
        file.write('on_crash = "preserve"\ntsc_mode = "native"\nvcpus = 2\nextra = "quiet"\n')
    xl("create", "-q", "/tmp/told.cfg")
    host.domains.create(xml("told-pvh", 19, "pvh", 112))
    seen = {}
    for entry in json.loads(xl("list", "-l")):
        if not entry["domid"]:
            continue
        config = entry["config"]
        spec = from_json(config)
        again, known = normalised(to_json(spec)), normalised(config)
        seen[spec.name] = {
            "memory": spec.memory >> 20,
            "kernel": spec.os.kernel,
            "vcpus": spec.vcpus,
            "on crash": spec.on_crash,
            "differs": sorted(_differing(known, again)),
        }
    note("described", seen)
    for name in ("told", "told-pvh"):
        gone(host, name)


@part
def interop(host: polyvisor.Connection) -> None:
    """Saved by each of three, restored by each of three, counting on."""
    start_libvirt()
    images = {"polyvisor": "/tmp/i.polyvisor", "virsh": "/tmp/i.virsh", "xl": "/tmp/i.xl"}

    def save(who: str, name: str) -> None:
        if who == "polyvisor":
            host.domains[name].save(images[who])
        elif who == "virsh":
            virsh("save", name, images[who])
        else:
            xl("save", name, images[who])

    def restore(who: str, image: str) -> None:
        if who == "polyvisor":
            host.domains.restore(image)
        elif who == "virsh":
            virsh("restore", image)
        else:
            xl("restore", image)

    def create(who: str) -> None:
        if who == "polyvisor":
            host.domains.create(xml("inter", 12))
        elif who == "virsh":
            Path("/tmp/inter.xml").write_text(xml("inter", 12))
            virsh("create", "/tmp/inter.xml")
        else:
            xl("create", "-q", xl_config("inter", 12))

    table: dict[str, dict[str, str]] = {}
    counter = Counter("inter")
    for saver, image in images.items():
        row = table.setdefault(saver, {})
        try:
            create(saver)
            counter.wait(3)
            save(saver, "inter")
        except (PolyvisorError, RuntimeError, TimeoutError) as error:
            row["saved"] = f"failed: {error}"
        before = counter.numbers()
        for restorer in images:
            gone(host, "inter")
            try:
                restore(restorer, _for(restorer, saver, image))
                counter.wait(3)
                seen = before + counter.numbers()
                whole = seen == list(range(1, len(seen) + 1))
                row[restorer] = "counts on" if whole else f"lost: {seen}"
            except (PolyvisorError, RuntimeError, TimeoutError) as error:
                row[restorer] = f"failed: {error}"
            subprocess.run(["xl", "destroy", "inter"], capture_output=True, check=False)
            until(lambda: "inter" not in xl("list"))
        gone(host, "inter")
    note("interop", table)
    for path in Path("/tmp").glob("i.*"):
        path.unlink()


def _for(restorer: str, saver: str, image: str) -> str:
    """Return the image in a form that the restorer reads: headers differ, streams do not."""
    forms = {"polyvisor": "libvirt-libxl", "virsh": "libvirt-libxl", "xl": "xl"}
    if restorer == "polyvisor" or forms[restorer] == forms[saver]:
        return image
    converted = f"{image}.as-{forms[restorer]}"
    run(
        sys.executable,
        "-m",
        "polyvisor",
        "image",
        "convert",
        image,
        "--to",
        forms[restorer],
        "-o",
        converted,
    )
    return converted


@part
def handshake(host: polyvisor.Connection) -> None:
    """Our cookie beside libvirt's of the same domain, and what libvirt makes of ours."""
    from uuid import UUID

    from libvirtwire import Refused, Wire

    from polyvisor_libxl.cookie import LibxlCookie

    if not os.path.exists("/run/libvirt/libvirt-sock"):
        start_libvirt()
    Path("/tmp/hand.xml").write_text(xml("hand", 15))
    virsh("create", "/tmp/hand.xml")
    uuid = UUID(f"6f0e1c1a-7d0c-4a6b-9f57-{15:012}")
    with Wire() as wire:
        theirs, definition = wire.begin("hand")
        virsh("destroy", "hand")
        ours = LibxlCookie("hand", uuid, os.uname().nodename, 2)
        note("cookies", {"theirs": theirs.hex(), "ours": ours.to_bytes().hex()})
        made = {
            "libvirt's": theirs,
            "ours": ours.to_bytes(),
            "ours with facts": ours.to_bytes(b'{"polyvisor-migration": 1}'),
            "of version 3": theirs.replace(b">2<", b">3<"),
            "without NUL": theirs[:-1],
        }
        answers = {}
        for which, cookie in made.items():
            try:
                answers[which] = wire.prepare("hand", definition, cookie)
            except Refused as error:
                answers[which] = f"refused: {error}"
            time.sleep(0.5)
        note("prepared", answers)
    gone(host, "hand")


@part
def changes(host: polyvisor.Connection) -> None:
    """A running guest has other numbers of vCPUs and of bytes, as xl sees them."""
    text = xml("changes", 20, memory=128).replace("<vcpu>1</vcpu>", "<vcpu>2</vcpu>")
    domain = host.domains.define(text)
    domain.start()
    counter = Counter("changes")
    counter.wait()
    domain.set_vcpus(1)
    until(lambda: domain.stats()["vcpu.current"] == 1)
    domain.set_memory(100 << 20)
    until(lambda: domain.info().memory <= 101 << 20)
    line = next(one.split() for one in xl("list").splitlines() if one.startswith("changes "))
    counter.wait()
    note("changes", {"memory": int(line[2]), "vcpus": int(line[3]), "whole": counter.whole()})
    gone(host, "changes")


part(devices)


@part
def seat(host: polyvisor.Connection) -> None:
    """A guest's console is read and is one client's; its core is Xen's; it counts on."""
    domain = host.domains.define(xml("seated", 16))
    domain.start()
    counter = Counter("seated")
    counter.wait()
    fd = domain.open_console()
    heard, deadline = b"", time.monotonic() + 60
    while heard.count(b"TICK") < 3 and time.monotonic() < deadline:
        if select.select([fd], [], [], 1)[0]:
            heard += os.read(fd, 4096)
    try:
        domain.open_console("console0")
        second = "open"
    except PolyvisorError as error:
        second = error.code
    domain.dump("/tmp/core")
    with open("/tmp/core", "rb") as core:
        facts = {"magic": core.read(4).hex(), "size": os.path.getsize("/tmp/core")}
    sections = run("readelf", "-SW", "/tmp/core")
    os.unlink("/tmp/core")
    counter.wait(3)
    state = str(domain.state)
    domain.destroy()
    ended = b"more"
    with suppress(OSError):  # EIO
        while ended and select.select([fd], [], [], 20)[0]:
            ended = os.read(fd, 4096)
        ended = b"never" if ended else ended
    os.close(fd)
    note(
        "seat",
        {
            "heard": heard.decode(errors="replace")[-60:],
            "second": second,
            "core": facts,
            "pages": ".xen_pages" in sections,
            "state": state,
            "whole": counter.whole(),
            "ended": ended != b"never",
        },
    )
    gone(host, "seated")


@part
def given_up(host: polyvisor.Connection) -> None:
    """Restoring is cancelled at several points; the image is restored afterwards."""
    domain = host.domains.define(xml("taken", 27))
    domain.start()
    counter = Counter("taken")
    counter.wait()
    domain.save("/tmp/taken")
    errors = []
    for seconds in (0.1, 0.4, 0.8, 1.2):
        with Job("restore") as job:
            timer = threading.Timer(seconds, job.cancel)
            timer.start()
            try:
                host.driver.save.restore("/tmp/taken", SaveOptions(), job)
                errors.append("none")
                break
            except PolyvisorError as error:
                errors.append(type(error).__name__)
            finally:
                timer.join()
        until(lambda: "taken" not in xl("list"))
    if not domain.active:
        host.domains.restore("/tmp/taken")
    counter.wait()
    note("given-up", {"errors": errors, "whole": counter.whole()})
    gone(host, "taken")
    os.unlink("/tmp/taken")


@part
def killed(host: polyvisor.Connection) -> None:
    """A process that saves is killed at ten points: the domain runs, an earlier image is whole."""
    counter = Counter("victim")
    domain = host.domains.define(xml("victim", 13))
    domain.start()
    counter.wait()
    whole = timed(lambda: domain.save("/tmp/earlier"))
    host.domains.restore("/tmp/earlier")
    counter.wait()
    earlier = Path("/tmp/earlier").read_bytes()
    results = []
    code = (
        "import polyvisor, sys\n"
        "host = polyvisor.open('xen:///system')\n"
        "print('ready', flush=True)\n"
        "host.domains['victim'].save('/tmp/image')\n"
    )
    for point in range(10):
        Path("/tmp/image").write_bytes(earlier)
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(whole * point / 9)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        state = str(domain.state)
        result = {"state": state, "earlier": Path("/tmp/image").read_bytes() == earlier}
        try:
            if domain.state is DomainState.SHUTOFF:
                host.domains.restore("/tmp/image")
                result["new"] = True
            counter.wait(3, seconds=60)
            result["whole"] = counter.whole()
        except (PolyvisorError, TimeoutError) as error:
            result["failed"] = str(error)
        results.append(result)
    note("killed", results)
    gone(host, "victim")
    for path in ("/tmp/earlier", "/tmp/image"):
        os.unlink(path)
    note("left", sorted(name for name in os.listdir("/tmp") if name.startswith(".")))


@slow_part
def speed(host: polyvisor.Connection) -> None:
    """Saving and restoring beside xl, the same guest, turn by turn."""
    counter = Counter("racer")
    figures: dict[str, list[float]] = {"save": [], "restore": [], "xl save": [], "xl restore": []}
    # What both pay once is paid: the pages of the programs are in the cache.
    host.domains.create(xml("racer", 14))
    counter.wait()
    domain = host.domains["racer"]
    steps = {
        "save": lambda: domain.save("/tmp/race"),
        "restore": lambda: host.domains.restore("/tmp/race"),
        "xl save": lambda: xl("save", "racer", "/tmp/race.xl"),
        "xl restore": lambda: xl("restore", "/tmp/race.xl"),
    }
    for _ in range(5):
        for step, call in steps.items():
            figures[step].append(timed(call))
            if step.endswith("restore"):
                counter.wait(2)
    note("speed", {name: [round(value, 3) for value in values] for name, values in figures.items()})
    note("speed-whole", counter.whole())
    gone(host, "racer")
    for path in ("/tmp/race", "/tmp/race.xl"):
        os.unlink(path)


def main() -> None:
    """Run the parts that do not take long, those that are named, or ``all``."""
    # libvirt listens for migrations at the host's name.
    run("ip", "address", "add", "10.9.9.1/32", "dev", "lo")
    Path("/etc/hosts").write_text("127.0.0.1 localhost\n10.9.9.1 xen1\n")
    chosen = os.environ.get("PARTS", "").split()
    wanted = (lambda name: True) if chosen == ["all"] else chosen.__contains__
    started = time.monotonic()
    with polyvisor.open("xen:///system") as host:
        for each in PARTS:
            if not (wanted(each.__name__) if chosen else each.__name__ not in SLOW):
                continue
            try:
                each(host)
            except Exception:  # noqa: BLE001 - noted, and the next part is run
                note(f"failed-{each.__name__}", traceback.format_exc())
            print(f"BED part {each.__name__} at {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
