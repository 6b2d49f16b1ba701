"""Masks as polygons: the exact outlines of a mask, fewer corners, one closed line for a mask of parts and holes.

Coordinates are x, y in pixels, where pixel 0 covers 0..1: outlines run along the edges of pixels, not through centres.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from masklet.ops.masks import BoolArray

Polygon = npt.NDArray[np.float64]
"""(K, 2) corners x, y; the last one is joined to the first."""


def outlines(mask: BoolArray) -> list[Polygon]:
    """The exact outlines of an (H, W) mask: of each part clockwise as seen, of each hole the other way round.

    Pixels that touch at a corner only belong to different parts. The signed areas (`signed_area`) add up to the number
    of pixels.
    """
    # The edges between rows of pixels: 1 where the mask begins below, -1 where it ends. A zero at both ends of a row
    # keeps runs of equal edges apart when all are laid end to end.
    edges = np.pad(np.diff(np.pad(mask.astype(np.int8), ((1, 1), (0, 0))), axis=0), ((0, 0), (1, 1)))
    changes = np.flatnonzero(np.diff(edges.ravel())) + 1
    is_start = edges.ravel()[changes] != 0
    first, last = changes[is_start], changes[np.roll(is_start, 1)]  # the run is first .. last - 1
    level, left = np.divmod(first, edges.shape[1])
    right = left + last - first
    sign = edges.ravel()[first]

    # Upper edges are walked to the right and lower ones to the left, so that the mask is on the right-hand side.
    start, end = np.where(sign > 0, left, right), np.where(sign > 0, right, left)
    # Along each column of corners, every two that follow each other are the ends of a vertical edge. Where two pixels
    # touch at a corner, the one above (a lower edge, sign -1) comes first, so that the pixels stay apart.
    corner_x, corner_y = np.concatenate((start, end)), np.concatenate((level, level))
    order = np.lexsort((np.concatenate((sign, sign)), corner_y, corner_x))
    partner = np.empty_like(order)
    partner[order] = order[np.arange(len(order)) ^ 1]
    following = partner[len(start) :].tolist()  # of each run's end: the start of the next run

    corners = np.stack((start - 1, level, end - 1, level), axis=1).astype(np.float64)  # less the zero on the left
    return [corners[loop].reshape(-1, 2) for loop in _cycles(following)]


def signed_area(polygon: Polygon) -> float:
    """Square pixels inside; negative where corners go anticlockwise as seen."""
    x, y = polygon[:, 0], polygon[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def simplified(polygon: Polygon, tolerance: float) -> Polygon:
    """A polygon of fewer of its corners, none left out that lies farther than this from the new line.

    Args:
        polygon: (K, 2).
        tolerance: pixels; from about 0.7 on, the steps of slanted edges go.

    Returns:
        As it was if fewer than three corners would be left.
    """
    # Douglas and Peucker's way, in two halves: from the first corner to the one farthest from it, and back.
    closed = np.concatenate((polygon, polygon[:1]))
    middle = int(((closed - closed[0]) ** 2).sum(1).argmax())
    keep = np.zeros(len(closed), dtype=np.bool_)
    keep[[0, middle]] = True
    spans = [(0, middle), (middle, len(closed) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        distance = _distance(closed[first + 1 : last], closed[first], closed[last])
        farthest = int(distance.argmax())
        if distance[farthest] > tolerance:
            middle = first + 1 + farthest
            keep[middle] = True
            spans += [(first, middle), (middle, last)]
    fewer = closed[:-1][keep[:-1]]
    return fewer if len(fewer) > 2 else polygon


def joined(polygons: Sequence[Polygon]) -> Polygon:
    """One closed line around all of them, largest first: each is reached from the nearest corner and back the same way.

    Parts and holes keep their direction, so that the signed area is that of all, and so is the inside under the rule of
    odd crossings.
    """
    first, *rest = sorted(polygons, key=lambda polygon: -abs(signed_area(polygon)))
    line = first
    for polygon in rest:
        distance, nearest = (np.asarray(found) for found in KDTree(line).query(polygon))
        here = int(distance.argmin())
        there = int(nearest[here])
        detour = np.roll(polygon, -here, axis=0)
        line = np.concatenate((line[: there + 1], detour, detour[:1], line[there:]))
    return line


def _cycles(following: list[int]) -> list[list[int]]:
    """The cycles of a permutation."""
    seen = [False] * len(following)
    cycles = []
    for first in range(len(following)):
        cycle = []
        while not seen[first]:
            seen[first] = True
            cycle.append(first)
            first = following[first]
        if cycle:
            cycles.append(cycle)
    return cycles


def _distance(points: Polygon, start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(K,) distance of points from a line segment."""
    along = end - start
    length = float(along @ along)
    share = ((points - start) @ along / length).clip(0, 1) if length else np.zeros(len(points))
    distance: npt.NDArray[np.float64] = np.hypot(*(points - start - share[:, None] * along).T)
    return distance
