"""What all contestants have in common."""

__all__ = ["BATCH", "BLOCK", "CLASSES", "FIX_RATIO", "METHOD", "P", "PATCH", "THREADS", "WINDOW"]

BATCH, BLOCK, WINDOW, CLASSES = 64, 256, 224, 2
THREADS = 2
METHOD, PATCH, FIX_RATIO, P = "CellMix-Group", 32, 0.5, 1.0
