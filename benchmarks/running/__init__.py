"""What every command shares: records, folders, options, devices, observers."""
