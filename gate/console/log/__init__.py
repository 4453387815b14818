"""The log for programs: C2SP tlog-tiles."""
