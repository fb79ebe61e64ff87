"""The ground floor: errors, flags, files, text, hardware, seeds and pictures. It imports nothing of the project."""
