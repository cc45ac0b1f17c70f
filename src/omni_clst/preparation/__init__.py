"""Files that people have -> samples that a run can rely on, and a report of what was wrong."""
