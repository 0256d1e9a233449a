"""A reference set that the project draws itself: 68 short clips of plain, known motion, and prompts that borrow it."""

from wan_ddp.references.commands import add_commands

__all__ = ["add_commands"]
