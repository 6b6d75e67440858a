"""The commands, one file for what belongs together. Nothing heavy is imported before a command needs it."""
