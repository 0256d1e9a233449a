"""Manifests written from the layouts that people have, and looked over: `python -m wan_ddp manifest --help`."""

from wan_ddp.manifest_tools.commands import add_commands

__all__ = ["add_commands"]
