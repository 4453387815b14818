"""The commands of `gate`, one file for each group: parse, call, print, exit code."""
