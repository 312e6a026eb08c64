"""Snapshots, checkpoints and backups of QEMU through polyvisord beside libvirtd's."""

from __future__ import annotations

import re

import pytest
from test_virsh_qemu import Both, both

pytestmark = pytest.mark.real

__all__ = ["both"]

#: Printed alike, word for word; one after the other, since each changes the guest.
SAME = """
define {folder}/{side}.xml
snapshot-create-as g off words; snapshot-list g --name
snapshot-info g off
snapshot-revert g off; domstate g
start g
snapshot-create-as g one; snapshot-current g --name
snapshot-info g one
snapshot-parent g one
snapshot-list g --tree
snapshot-list g --internal --name; snapshot-list g --active --name
domstate g
snapshot-revert g one; domstate g --reason
snapshot-revert g one --paused; domstate g --reason; resume g
snapshot-delete g one; snapshot-list g --name
snapshot-create-as g disks --disk-only --diskspec vda,file={folder}/{side}.disks; domblklist g
snapshot-info g disks
snapshot-list g --disk-only --name; snapshot-list g --external --name
blockcommit g vda --active --wait --pivot; domblklist g
snapshot-delete g disks --metadata; snapshot-list g --name
snapshot-create-as g mem --memspec {folder}/{side}.mem --diskspec vda,file={folder}/{side}.over
domblklist g; domstate g
snapshot-info g mem
blockcommit g vda --active --wait --pivot
snapshot-delete g mem --metadata
snapshot-delete g off
checkpoint-create-as g c1 words
checkpoint-list g --name; checkpoint-info g c1
checkpoint-create-as g c2; checkpoint-parent g c2; checkpoint-list g --tree
backup-begin g {folder}/{side}.push
checkpoint-delete g nosuch
destroy g
checkpoint-delete g c2 --metadata; checkpoint-list g --name
"""

#: Refused by both, each in its own words.
REFUSED = """
snapshot-create-as g disks
snapshot-create-as g bad --diskspec vdz
snapshot-create-as g bad --diskspec vda,snapshot=internal --disk-only
"""


def test_what_virsh_prints_is_the_same(both: Both) -> None:
    """What is taken, listed, gone back to and deleted is told in the same words."""
    push = (
        "<domainbackup><disks><disk name='vda' type='file'><target file='{}'/></disk></disks>"
        "</domainbackup>"
    )
    for side in both.uris:
        (both.folder / f"{side}.push").write_text(push.format(both.folder / f"{side}.backup"))
    different = []
    for line in SAME.strip().splitlines():
        said = both.said(line)
        if said["a"] != said["b"]:
            different.append(f"{line}\n-- polyvisord {said['a']}-- libvirtd {said['b']}")
        if line.startswith("snapshot-create-as g disks"):
            for refused in REFUSED.strip().splitlines():
                told = both.said(refused)
                assert {text[0] for text in told.values()} == {"1"}, told
            _same_head(both, "snapshot-dumpxml g disks")
        if line.startswith("checkpoint-list"):
            _same_head(both, "checkpoint-dumpxml g c1")
    assert not different, "\n".join(different)


def _same_head(both: Both, words: str) -> None:
    """Compare a document without the domain in it, times and sources."""
    heads = {}
    for side, text in both.said(words).items():
        assert "<name>" in text, text
        text = re.sub(r"<(domain|inactiveDomain|cookie)\b.*</\1>", "", text, flags=re.DOTALL)
        text = re.sub(r"<source .*?</disk>", "</disk>", text, flags=re.DOTALL)
        heads[side] = re.sub(r"<creationTime>\d+", "<creationTime>", text)
    assert heads["a"] == heads["b"]
