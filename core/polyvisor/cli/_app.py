"""All commands: found by name, imported when called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from polyvisor.cli._declare import Command, echo
from polyvisor.cli._read import read
from polyvisor.cli._session import Session, running
from polyvisor.errors import PolyvisorError

__all__ = ["run"]

# Command → module below polyvisor.cli, and the line that help shows for it; so that
# neither help nor completion imports the commands.
COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("domains", "List domains."),
    "define": ("domains", "Define a domain from a file."),
    "create": ("domains", "Start a transient domain from a file."),
    "run": ("domains", "Define a domain from a file and start it."),
    "edit": ("edit", "Change a domain's definition in an editor."),
    "undefine": ("domains", "Forget a domain's definition."),
    "start": ("domains", "Start a defined domain."),
    "shutdown": ("domains", "Ask a guest to shut down."),
    "destroy": ("domains", "Stop a domain at once."),
    "suspend": ("domains", "Stop a domain's vCPUs."),
    "resume": ("domains", "Let a domain's vCPUs run on."),
    "reboot": ("domains", "Ask a guest to reboot."),
    "reset": ("domains", "Reset a machine at once."),
    "autostart": ("domains", "Start a domain together with the host, or not."),
    "dumpxml": ("facts", "Print a domain's definition."),
    "domxml-from-native": ("native", "Print a hypervisor's own configuration as XML."),
    "domxml-to-native": ("native", "Print a definition as a hypervisor's own configuration."),
    "dominfo": ("facts", "Print a domain's figures."),
    "domstate": ("facts", "Print a domain's state."),
    "domid": ("facts", "Print a domain's id."),
    "domname": ("facts", "Print a domain's name."),
    "domuuid": ("facts", "Print a domain's UUID."),
    "domstats": ("facts", "Print statistics of domains."),
    "domdirtyrate-calc": ("facts", "Measure how fast a domain writes to its memory."),
    "domblkstat": ("counts", "Print what a disk has done."),
    "domifstat": ("counts", "Print what went through an interface."),
    "dommemstat": ("counts", "Print what is known of a domain's memory."),
    "cpu-stats": ("counts", "Print the CPU time that a domain has had."),
    "vcpucount": ("counts", "Print how many virtual CPUs a domain has."),
    "vcpuinfo": ("counts", "Print state, time and places of virtual CPUs."),
    "domjobinfo": ("facts", "Print how far a domain's job is."),
    "domjobabort": ("facts", "Cancel a domain's job."),
    "save": ("saving", "Save a running domain to a file."),
    "restore": ("saving", "Start a domain saved in a file."),
    "save-image-dumpxml": ("saving", "Print the definition inside a save image."),
    "save-image-define": ("saving", "Change the definition inside a save image."),
    "save-image-edit": ("saving", "Change it in an editor."),
    "image": ("images", "Inspect, verify and convert save images."),
    "managedsave": ("saving", "Save a domain; its next start resumes."),
    "managedsave-remove": ("saving", "Drop a domain's managed save image."),
    "migrate": ("moving", "Move a domain to another host."),
    "migrate-postcopy": ("moving", "Switch a migration to post-copy."),
    "migrate-setspeed": ("moving", "Limit the bandwidth of a migration."),
    "migrate-setmaxdowntime": ("moving", "Limit the downtime of a migration."),
    "migrate-getspeed": ("moving", "Print the limit of migrations' bandwidth."),
    "migrate-getmaxdowntime": ("moving", "Print the limit of migrations' downtime."),
    "migrate-compcache": ("moving", "Print or set the cache of packed migrations."),
    "snapshot-create": ("snapshots", "Take a snapshot."),
    "snapshot-create-as": ("snapshots", "Take a snapshot with a name."),
    "snapshot-list": ("snapshots", "List a domain's snapshots."),
    "snapshot-revert": ("snapshots", "Go back to a snapshot."),
    "snapshot-delete": ("snapshots", "Remove a snapshot."),
    "snapshot-dumpxml": ("snapshots", "Print a snapshot's definition."),
    "snapshot-current": ("snapshots", "Print the snapshot that a domain grew from."),
    "snapshot-info": ("snapshots", "Print facts about a snapshot."),
    "snapshot-parent": ("snapshots", "Print what a snapshot grew from."),
    "checkpoint-create": ("backups", "Make a checkpoint."),
    "checkpoint-create-as": ("backups", "Make a checkpoint with a name."),
    "checkpoint-list": ("backups", "List a domain's checkpoints."),
    "checkpoint-dumpxml": ("backups", "Print a checkpoint's document."),
    "checkpoint-parent": ("backups", "Print what a checkpoint came after."),
    "checkpoint-delete": ("backups", "Remove a checkpoint."),
    "backup-begin": ("backups", "Begin a backup of a domain's disks."),
    "backup-dumpxml": ("backups", "Print the backup that goes on."),
    "setvcpu": ("changing", "Plug certain virtual CPUs in or out."),
    "setvcpus": ("changing", "Set how many virtual CPUs are on."),
    "setmem": ("changing", "Set how much memory a domain has."),
    "setmaxmem": ("changing", "Set how much memory a domain may have."),
    "domrename": ("changing", "Give a domain that is off another name."),
    "set-lifecycle-action": ("changing", "Set what happens when a guest ends of itself."),
    "attach-device": ("changing", "Add a device to a domain."),
    "detach-device": ("changing", "Remove a device from a domain."),
    "detach-device-alias": ("changing", "Remove the device of a name from a domain."),
    "update-device": ("changing", "Change a device of a domain."),
    "attach-disk": ("attaching", "Add a disk to a domain."),
    "attach-interface": ("attaching", "Add a network interface to a domain."),
    "detach-disk": ("exchanging", "Remove a disk from a domain."),
    "detach-interface": ("exchanging", "Remove a network interface from a domain."),
    "change-media": ("exchanging", "Change what is in a domain's drive."),
    "domif-getlink": ("exchanging", "Print whether an interface's cable is in."),
    "domif-setlink": ("exchanging", "Plug an interface's cable in or out."),
    "domiflist": ("attaching", "List a domain's network interfaces."),
    "domifaddr": ("attaching", "Print the addresses of a domain's interfaces."),
    "domblklist": ("disks", "List a domain's disks."),
    "domblkinfo": ("disks", "Print the sizes of a domain's disks."),
    "domblkthreshold": ("disks", "Tell of a write beyond an offset of a disk's file."),
    "blockresize": ("disks", "Change the size of a running domain's disk."),
    "blockpull": ("disks", "Bring the data of backing files into a disk's own."),
    "blockcommit": ("disks", "Bring the data of a disk's upper files into a lower one."),
    "blockcopy": ("disks", "Copy a disk while its domain runs."),
    "blockjob": ("disks", "Print, limit or end the job on a disk."),
    "qemu-agent-command": ("agent", "Send a command to the agent in a guest."),
    "guest-agent-timeout": ("agent", "Say how long an agent is waited for."),
    "domfsfreeze": ("agent", "Stop a guest from writing to its file systems."),
    "domfsthaw": ("agent", "Let a guest write to its file systems again."),
    "domfstrim": ("agent", "Have a guest say which blocks are free."),
    "domfsinfo": ("agent", "Print what is mounted in a guest."),
    "domhostname": ("agent", "Print a guest's name for itself."),
    "domtime": ("agent", "Print or set a guest's time."),
    "guestinfo": ("agent", "Print what the agent knows of its guest."),
    "guestvcpus": ("agent", "Print or change which of its vCPUs the guest uses."),
    "set-user-password": ("agent", "Set a user's password in the guest."),
    "get-user-sshkeys": ("agent", "Print the keys with which a user may log in to the guest."),
    "set-user-sshkeys": ("agent", "Change the keys with which a user may log in to the guest."),
    "qemu-monitor-command": ("debug", "Send a command to the monitor of a domain's QEMU."),
    "qemu-monitor-event": ("debug", "Print events of the monitor of a domain's QEMU."),
    "inject-nmi": ("debug", "Interrupt a domain's machine."),
    "desc": ("changing", "Print or set a domain's description or title."),
    "metadata": ("changing", "Print or set an element of a domain's metadata."),
    "console": ("seat", "Connect to a domain's console."),
    "ttyconsole": ("seat", "Print the terminal behind a console."),
    "vncdisplay": ("seat", "Print where a domain's VNC display is."),
    "domdisplay-reload": ("seat", "Have a display use its certificates anew."),
    "domdisplay": ("seat", "Print where viewers find a domain's display."),
    "screenshot": ("seat", "Take a picture of a domain's screen."),
    "send-key": ("seat", "Press keys of a domain's keyboard."),
    "dump": ("seat", "Write a domain's memory for a debugger."),
    "vcpupin": ("tuning", "Print or set where vCPUs run."),
    "emulatorpin": ("tuning", "Print or set where the rest of a domain runs."),
    "iothreadinfo": ("tuning", "Print where I/O threads run."),
    "iothreadpin": ("tuning", "Set where an I/O thread runs."),
    "iothreadadd": ("tuning", "Add an I/O thread."),
    "iothreaddel": ("tuning", "Remove an I/O thread."),
    "iothreadset": ("tuning", "Set how an I/O thread works."),
    "schedinfo": ("tuning", "Print or set the scheduler's values."),
    "memtune": ("tuning", "Print or set limits on memory."),
    "blkiotune": ("tuning", "Print or set weights of input and output."),
    "numatune": ("tuning", "Print or set nodes for memory."),
    "blkdeviotune": ("tuning", "Print or set limits of a disk."),
    "domiftune": ("tuning", "Print or set limits of an interface."),
    "event": ("watching", "Print events as they come."),
    "net-list": ("networks", "List networks."),
    "net-define": ("networks", "Define a network from a file."),
    "net-create": ("networks", "Start a transient network from a file."),
    "net-start": ("networks", "Start a defined network."),
    "net-destroy": ("networks", "Stop a network."),
    "net-undefine": ("networks", "Forget a network's definition."),
    "net-autostart": ("networks", "Start a network together with the host, or not."),
    "net-dumpxml": ("networks", "Print a network's document."),
    "net-edit": ("networks", "Change a network's definition in an editor."),
    "net-name": ("networks", "Print a network's name."),
    "net-uuid": ("networks", "Print a network's UUID."),
    "net-info": ("networks", "Print facts about a network."),
    "net-dhcp-leases": ("networks", "Print the addresses that a network gave out."),
    "iface-list": ("networks", "List the host's interfaces."),
    "iface-define": ("networks", "Define an interface from a file."),
    "iface-start": ("networks", "Bring an interface up."),
    "iface-destroy": ("networks", "Take an interface down."),
    "iface-undefine": ("networks", "Forget an interface's definition."),
    "iface-dumpxml": ("networks", "Print an interface's document."),
    "nwfilter-list": ("networks", "List network filters."),
    "nwfilter-define": ("networks", "Define a network filter from a file."),
    "nwfilter-undefine": ("networks", "Forget a network filter."),
    "nwfilter-dumpxml": ("networks", "Print a network filter's document."),
    "nwfilter-edit": ("networks", "Change a network filter in an editor."),
    "nodedev-list": ("nodedevices", "List the host's devices."),
    "nodedev-dumpxml": ("nodedevices", "Print a device's document."),
    "nodedev-detach": ("nodedevices", "Take a PCI device from the host."),
    "nodedev-reattach": ("nodedevices", "Give a PCI device back to the host."),
    "nodedev-reset": ("nodedevices", "Reset a PCI device."),
    "nodedev-create": ("nodedevices", "Make a device of another."),
    "nodedev-destroy": ("nodedevices", "Remove a device that was made."),
    "pool-list": ("storage", "List storage pools."),
    "pool-define": ("storage", "Define a storage pool from a file."),
    "pool-create": ("storage", "Start a transient storage pool from a file."),
    "pool-define-as": ("volumes", "Define a storage pool of a few words."),
    "pool-create-as": ("volumes", "Start a transient storage pool of a few words."),
    "pool-build": ("storage", "Make what lies below a storage pool."),
    "pool-start": ("storage", "Start a defined storage pool."),
    "pool-destroy": ("storage", "Stop a storage pool."),
    "pool-undefine": ("storage", "Forget a storage pool's definition."),
    "pool-delete": ("storage", "Remove what lies below a storage pool."),
    "pool-refresh": ("storage", "Look through a storage pool anew."),
    "pool-autostart": ("storage", "Start a storage pool together with the host, or not."),
    "pool-dumpxml": ("storage", "Print a storage pool's document."),
    "pool-edit": ("storage", "Change a storage pool's definition in an editor."),
    "pool-info": ("storage", "Print facts about a storage pool."),
    "pool-name": ("storage", "Print a storage pool's name."),
    "pool-uuid": ("storage", "Print a storage pool's UUID."),
    "vol-list": ("storage", "List the volumes of a storage pool."),
    "vol-create": ("storage", "Make a volume from a file."),
    "vol-create-as": ("storage", "Make a volume of a name and a size."),
    "vol-delete": ("storage", "Remove a volume."),
    "vol-dumpxml": ("storage", "Print a volume's document."),
    "vol-info": ("storage", "Print facts about a volume."),
    "vol-path": ("storage", "Print where a volume is."),
    "vol-key": ("volumes", "Print a volume's key."),
    "vol-name": ("volumes", "Print a volume's name."),
    "vol-pool": ("volumes", "Print in which pool a volume is."),
    "vol-upload": ("volumes", "Write a file into a volume."),
    "vol-download": ("volumes", "Write a volume into a file."),
    "vol-clone": ("volumes", "Copy a volume."),
    "vol-resize": ("storage", "Give a volume another size."),
    "vol-wipe": ("storage", "Overwrite a volume with zeros."),
    "secret-list": ("storage", "List secrets."),
    "secret-define": ("storage", "Define a secret from a file."),
    "secret-undefine": ("storage", "Forget a secret."),
    "secret-dumpxml": ("storage", "Print a secret's document."),
    "secret-set-value": ("storage", "Give a secret a value."),
    "secret-get-value": ("storage", "Print a secret's value."),
    "hosts": ("hosts", "List configured connections."),
    "hostname": ("hosts", "Print the host's name."),
    "nodecpustats": ("hosts", "Print what the host's CPUs do."),
    "nodememstats": ("hosts", "Print what the host's memory is used for."),
    "freecell": ("hosts", "Print how much of the host's memory is free."),
    "nodeinfo": ("hosts", "Print facts about the host."),
    "version": ("hosts", "Print versions."),
    "uri": ("hosts", "Print the connection's URI."),
    "capabilities": ("hosts", "Print the host's capabilities."),
    "domcapabilities": ("hosts", "Print what a domain can have on the host."),
    "sysinfo": ("hostmemory", "Print what the host's firmware says of it."),
    "freepages": ("hostmemory", "Print how many pages of the host nobody uses."),
    "allocpages": ("hostmemory", "Have the host keep huge pages."),
    "node-memory-tune": ("hostmemory", "Print or set how the host merges equal pages."),
    "cpu-compare": ("processors", "Compare a CPU with the host's."),
    "hypervisor-cpu-compare": ("processors", "Compare a CPU with what guests can have."),
    "cpu-baseline": ("processors", "Print what CPUs of hosts have in common."),
    "hypervisor-cpu-baseline": ("processors", "Print a CPU for guests on several hosts."),
    "cpu-models": ("counts", "Print models of processor for guests."),
    "maxvcpus": ("counts", "Print how many virtual CPUs a domain can have."),
    "support": ("hosts", "Print what works on the connection, and why the rest does not."),
    "spec": ("spec", "Convert, compare and check definitions."),
    "plugins": ("setup", "List plugins, and what to install where one cannot work."),
    "new-plugin": ("plugin", "Write a plugin to go on from, with its tests."),
    "config": ("setup", "Print the configuration in force and where it comes from."),
    "completion": ("setup", "Print a completion script for a shell."),
    "demo": ("demo", "Show the whole job on the simulator and on QEMU."),
}


def find(name: str) -> Command | None:
    """Return the command of ours that is called ``name``."""
    entry = COMMANDS.get(name)
    if entry is None:
        return None
    from importlib import import_module

    module = import_module(f"polyvisor.cli.{entry[0]}")
    command: Command = getattr(module, name.replace("-", "_") + "_command")
    return command


def run(arguments: Sequence[str] | None) -> int:
    """Run a command line; see :func:`polyvisor.cli.main`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    session = Session()
    try:
        with running(session):
            code = _run(given, session)
        sys.stdout.flush()
        if code:
            return code
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        # The reader has gone; keep the interpreter from complaining when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except PolyvisorError as error:
        return _report(session, error.message, error.to_dict())
    except Exception as error:
        if session.debug:
            raise
        text = f"{type(error).__name__}: {error}; this is a defect, see it whole with --debug"
        return _report(session, text, {"code": "internal", "message": text})
    finally:
        session.close()
    return session.exit_code


def _run(words: list[str], session: Session) -> int:
    # Shells ask for completions with this variable.
    if "_POLYVISOR_COMPLETE" not in os.environ:
        call = read(words, find)
        if call is not None:
            try:
                call.run(session)
            except Exception as error:
                if not type(error).__module__.startswith("click."):
                    raise
                from polyvisor.cli._click import show

                return show(error, call.command, words)
            return 0
    from polyvisor.cli._click import run as run_with_click

    return run_with_click(words, session)


def _interrupted() -> int:
    echo("polyvisor: interrupted", err=True)
    return 130


def _report(session: Session, message: str, facts: dict[str, Any]) -> int:
    if session.debug:
        import traceback

        traceback.print_exc()
    if session.json:
        import json

        echo(json.dumps({"error": facts}, default=str, ensure_ascii=False), err=True)
    else:
        line = " ".join(message.split())
        echo(f"polyvisor: error: {line}", err=True)
    return 1
