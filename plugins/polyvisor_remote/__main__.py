"""``python -m polyvisor_remote`` is ``polyvisord``."""

from polyvisor_remote.cli import main

main()
