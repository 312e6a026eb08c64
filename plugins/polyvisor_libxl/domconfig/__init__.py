"""libxl's own description of a guest, ``libxl_domain_config``, in its JSON form.

``to_json``     a definition as libxl takes it (``libxl_domain_config_from_json``)
``from_json``   a running guest's, whoever made it, as a definition
``normalised``  one form for what libxl takes as the same

The structures are those of tools/libs/light/libxl_types.idl; how libvirt fills them,
src/libxl/libxl_conf.c.  Names, numbers and defaults are libxl's: what is left out has the
default.
"""

from __future__ import annotations

from polyvisor_libxl.domconfig.build import to_json
from polyvisor_libxl.domconfig.facts import HostFacts
from polyvisor_libxl.domconfig.parse import from_json
from polyvisor_libxl.domconfig.plain import normalised

__all__ = ["HostFacts", "from_json", "normalised", "to_json"]
