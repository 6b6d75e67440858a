"""Three plug-ins of foretaste, a file each."""
