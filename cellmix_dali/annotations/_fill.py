"""Polygons filled on a raster by compiled code: a tile asks for every edge of what meets it."""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import numpy as np

from .._compiled import compiled

__all__ = ["fill"]


@compiled()
def fill(edges, x, y, canvas, value):
    """Paint the points of a raster that lie within a polygon.

    A point lies within if a line from it to the left meets an odd number of edges. What lies on an edge counts as right
    of it, and as below its upper end: of two polygons with an edge in common, each point of it is in just one.

    Parameters
    ----------
    edges : float64 array (edges, 4)
        x, y of both ends of each edge of all rings, the upper end (smaller y) first: so an edge that two polygons have
        in common is worked out alike.
    x, y : float64 arrays (columns,) and (rows,)
        Where the points are, ascending.
    canvas : uint8 array (rows, columns)
        Is written to.
    value : int
        What is written.
    """
    rows, columns = y.size, x.size
    crossed = np.zeros((rows, columns), np.uint8)
    first, last = rows, 0
    for edge in range(len(edges)):
        x0, y0, x1, y1 = edges[edge]
        if y1 <= y[0] or y0 > y[rows - 1] or min(x0, x1) > x[columns - 1]:
            continue
        row = np.searchsorted(y, y0)
        first = min(first, row)
        while row < rows and y[row] < y1:
            at = x0 + (y[row] - y0) * ((x1 - x0) / (y1 - y0))
            column = np.searchsorted(x, at)
            if column < columns:
                crossed[row, column] ^= 1
            row += 1
        last = max(last, row)
    for row in range(first, last):
        inside = 0
        for column in range(columns):
            inside ^= crossed[row, column]
            if inside:
                canvas[row, column] = value
