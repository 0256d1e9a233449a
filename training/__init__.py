"""Trains the pocket Wan: the small checkpoint that `--model pocket` runs, on clips that are drawn here.

`python -m training --help` lists the commands; README.md beside this file tells the way from nothing to a checkpoint.
"""
