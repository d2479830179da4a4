"""Pure rules and data: no files, no processes, no clock."""
