"""`python -m wan_ddp status`: how a run stands, from its output folder alone, while it goes on or afterwards."""
