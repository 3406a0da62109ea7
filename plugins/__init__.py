"""DALI operators."""
