"""Reports of a run: report.json for programs, report.md for people, and plots."""
