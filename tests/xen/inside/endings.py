"""Runs in the control domain of one host: what becomes of guests that end, and making room."""

from __future__ import annotations

from pathlib import Path

from guests import Counter, note, until, xl, xml

import polyvisor
from polyvisor.states import DomainState


def crashes(host: polyvisor.Connection) -> None:
    """A guest that panics leaves a core, or stays as it is, as its definition says."""
    seen = {}
    for number, action in ((32, "coredump-destroy"), (33, "preserve")):
        text = xml(action, number).replace("quiet", "quiet rdinit=/nothing")
        text = text.replace("<on_crash>destroy", f"<on_crash>{action}")
        domain = host.domains.define(text)
        domain.start()  # Linux panics without its first program
        until(lambda domain=domain: domain.state is not DomainState.RUNNING, 120)
        cores = list(Path("/var/log").rglob(f"{domain.uuid}*.core"))
        seen[action] = {
            "status": [str(domain.state), str(domain.status().reason)],
            "cores": [(core.read_bytes()[:4].hex(), core.stat().st_size >> 20) for core in cores],
            "listed": f"{action} " in xl("list"),
        }
        for core in cores:
            core.unlink()
        if domain.active:
            domain.destroy()
        domain.undefine()
    note("crashes", seen)


def kept(host: polyvisor.Connection) -> None:
    """A guest that is rebooted with rename-restart stays beside its successor."""
    text = xml("kept", 31).replace("<on_reboot>restart", "<on_reboot>rename-restart")
    domain = host.domains.define(text)
    domain.start()
    counter, number = Counter("kept"), domain.info().id
    counter.wait()
    domain.reboot()
    until(lambda: domain.info().id not in (None, number), 120)
    until(lambda: counter.numbers().count(2) == 2, 120)
    old = host.domains[number]
    note(
        "kept",
        {
            "name": old.name.startswith("kept-2"),
            "other": old.uuid != domain.uuid,
            "kernel": old.spec().os.kernel,
            "states": [str(old.state), str(domain.state)],
            "in xl's list": xl("list").count("\nkept"),
        },
    )
    old.destroy()
    note("kept-left", [line.name for line in host.domains.summaries() if "kept" in line.name])
    domain.destroy()
    domain.undefine()


def ballooned(host: polyvisor.Connection) -> None:
    """A guest for which there is too little memory has it of the control domain's."""
    config = Path("/tmp/autoballoon.toml")
    config.write_text("[plugins.libxl]\nautoballoon = true\n")
    before = host.domains["Domain-0"].info().memory
    free = next(line for line in xl("info").splitlines() if line.startswith("free_memory"))
    with polyvisor.open("xen:///system", config=config) as trusting:
        domain = trusting.domains.create(xml("big", 34, memory=int(free.split(":")[1]) + 64))
        Counter("big").wait()
        after = trusting.domains["Domain-0"].info().memory
        domain.destroy()
    xl("mem-set", "0", f"{before >> 20}")
    note("ballooned", {"given": before - after >> 20})
