"""`python -m wan_ddp doctor`: what a run needs of this machine, what was found, and what to do; measured by a pilot."""

from wan_ddp.doctor.commands import add_commands

__all__ = ["add_commands"]
