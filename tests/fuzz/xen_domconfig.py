"""libxl's description of a guest in JSON: read as a definition, and made of it again."""

from __future__ import annotations

import json

from polyvisor.errors import SpecError
from polyvisor_libxl.domconfig import from_json, normalised, to_json

SEEDS = ("libxlxml2domconfigdata/*.json",)
EXAMPLES = (
    b'{"c_info":{"type":"pv","name":"a"},"b_info":{"max_memkb":65536,"type.pv":{}}}',
    b"""{"c_info": {"type": "hvm", "name": "web", "hap": "True", "passthrough": "share_pt"},
"b_info": {"max_vcpus": 2, "avail_vcpus": [0], "vcpu_hard_affinity": [[0, 1], []],
 "max_memkb": 524288, "target_memkb": 262144, "rtc_timeoffset": 4294967295,
 "cpuid": {"cpuid": [{"leaf": 1, "ecx": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0"}],
           "msr": [{"index": 266, "policy": "%s1"}]},
 "vnuma_nodes": [{"memkb": 524288, "vcpus": [0, 1], "distances": [10]}],
 "type.hvm": {"serial": "pty", "vnc": {"enable": "True", "display": 3}, "vga": {"kind": "std"}}},
"disks": [{"vdev": "xvda", "pdev_path": "/dev/vg/a", "backend": "phy", "format": "raw"}],
"nics": [{"devid": 0, "mac": "00:16:3e:01:02:03", "bridge": "br0:1:2", "nictype": "vif"}],
"pcidevs": [{"bus": 1, "dev": 2, "permissive": true}],
"usbdevs": [{"type.hostdev": {"hostbus": 1, "hostaddr": 3}}],
"channels": [{"name": "a", "connection.socket": {"path": "/a"}}], "on_crash": "coredump_restart"}
"""
    % (b"x" * 63),
)


def one(data: bytes) -> None:
    """Read a description or refuse it; one that libxl could not tell from it comes back."""
    try:
        config = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        spec = from_json(config)
        made = to_json(spec)
    except SpecError:
        return
    assert normalised(to_json(from_json(made))) == normalised(made)
