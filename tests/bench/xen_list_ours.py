"""Times the Xen driver over the stand-in: ``xen_list_ours.py DOMAINS``; prints JSON."""

import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path

from timing import median_seconds, seconds_each

many = int(sys.argv[1])
with tempfile.TemporaryDirectory(prefix="pv-") as name:
    folder = Path(name)
    path = Path(__file__).parents[1] / "plugins/libxl/standin/build.py"
    spec = importlib.util.spec_from_file_location("standin_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.build(folder)
    sys.path.insert(0, name)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")

    import polyvisor

    xml = (
        "<domain type='xen'><name>guest-{}</name><memory unit='KiB'>4096</memory><vcpu>1</vcpu>"
        "<os><type arch='x86_64' machine='xenpv'>xen</type><kernel>/bin/sh</kernel></os></domain>"
    )
    with polyvisor.open(f"standin:///system?root={folder}/host") as host:
        for number in range(many):
            # Paused, since the stand-in's guests count when they are looked at.
            host.domains.create(xml.format(number), paused=True)
        some = [host.domains[f"guest-{number}"] for number in range(0, many, 10)]
        figures = {
            "summaries": median_seconds(host.domains.summaries, 15),
            "by_name": seconds_each(
                (lambda n=n: host.domains[f"guest-{n}"]) for n in range(0, many, 10)
            ),
            "state": seconds_each((lambda d=d: d.state) for d in some),
        }
print(json.dumps(figures))
