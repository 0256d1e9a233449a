"""What a run has made, as a page to look at: every reference beside its results, what failed and why, charts."""

from wan_ddp.report.commands import add_commands

__all__ = ["add_commands"]
