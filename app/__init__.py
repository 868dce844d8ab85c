"""What people touch: the command line and the reports. Knows nothing of how anything is computed."""
