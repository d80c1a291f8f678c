"""The commands of the suite: run, report, speed."""
