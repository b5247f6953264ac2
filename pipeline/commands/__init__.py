"""The commands, a file each: its signature defines the options, its body does the work."""
