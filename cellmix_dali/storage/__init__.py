"""Bytes and folders: files that stay open, and how they are read, written, locked; what is wrong with a path."""
