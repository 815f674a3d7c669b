"""Domains as polygons: every spot in that of its domain, on lattices and among scattered cells."""

import numpy as np
import pytest

shapely = pytest.importorskip("shapely")

from histoquilt.io.exporters._polygons import domain_polygons  # noqa: E402
from histoquilt.study import spot_pitch  # noqa: E402


def square(n=20, pitch=200.0):
    return np.stack(np.meshgrid(np.arange(n), np.arange(n)), axis=-1).reshape(-1, 2) * pitch


def hexagonal(n=24, pitch=100.0, angle=0.3):
    column, row = np.meshgrid(np.arange(n), np.arange(n))
    points = np.column_stack([(column + 0.5 * (row % 2)).ravel(), row.ravel() * np.sqrt(0.75)]) * pitch
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ turn.T


def cells(n=2000, seed=0):
    return np.random.default_rng(seed).random((n, 2)) * 10 * np.sqrt(n)


def rings(points):
    """Domain 0 inside 1 inside 2: two of them have a hole."""
    radius = np.hypot(*(points - points.mean(axis=0)).T)
    return np.digitize(radius, np.quantile(radius, [0.3, 0.6]))


def labels_read_back(areas, points):
    found = np.full(len(points), -1)
    for code, area in areas.items():
        inside = shapely.contains_xy(area, points[:, 0], points[:, 1])
        assert (found[inside] == -1).all(), "a spot lies in two domains"
        found[inside] = code
    return found


PLACES = {
    "square": square(),
    "legacy ST": square() + np.random.default_rng(0).normal(0, 14, (400, 2)),
    "hexagonal": hexagonal(),
    "whole pixels": np.round(hexagonal()),
    "cells": cells(),
}


@pytest.mark.parametrize("tolerance", [0.0, 2.0])
@pytest.mark.parametrize("kind", PLACES)
def test_every_spot_is_in_the_polygon_of_its_domain(kind, tolerance):
    points = PLACES[kind]
    for codes in (rings(points), np.random.default_rng(1).integers(0, 4, len(points))):
        areas = domain_polygons(points, codes, tolerance=tolerance)
        assert all(area.is_valid and area.geom_type == "MultiPolygon" for area in areas.values())
        np.testing.assert_array_equal(labels_read_back(areas, points), codes)
        whole = sum(area.area for area in areas.values())
        assert shapely.union_all(list(areas.values())).area == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize(("points", "cell"), [(square(), 200.0**2), (hexagonal(), 100.0**2 * np.sqrt(0.75))])
def test_on_a_lattice_every_spot_has_the_same_area(points, cell):
    for domain, area in domain_polygons(points, rings(points)).items():
        assert area.area == pytest.approx((rings(points) == domain).sum() * cell, rel=2e-3)


def test_a_hole_in_the_tissue_and_a_domain_around_another():
    points = hexagonal()
    middle = points.mean(axis=0)
    points = points[np.hypot(*(points - middle).T) > 260]
    [area] = domain_polygons(points, np.zeros(len(points), int)).values()
    assert [len(part.interiors) for part in area.geoms] == [1]
    assert not shapely.contains_xy(area, *middle)
    areas = domain_polygons(square(), rings(square()))
    assert len(areas[1].geoms[0].interiors) == 1
    assert not shapely.intersects(areas[1], areas[0].centroid)


def test_cells_end_within_about_a_pitch():
    points = cells()
    [area] = domain_polygons(points, np.zeros(len(points), int)).values()
    reach = 1.7 * spot_pitch(points)
    around = shapely.union_all(shapely.buffer(shapely.points(points), reach, quad_segs=32))
    assert around.covers(area)
    assert area.covers(shapely.multipoints(points))


def test_corners_that_touch():
    """A checkerboard: every field of one colour is a polygon of its own."""
    points = square(6)
    codes = (points.sum(axis=1) // 200 % 2).astype(int)
    areas = domain_polygons(points, codes, tolerance=1.0)
    assert [len(area.geoms) for area in areas.values()] == [18, 18]
    np.testing.assert_array_equal(labels_read_back(areas, points), codes)


def test_spots_without_a_domain_are_left_out():
    points = square()
    codes = np.where(rings(points) == 0, -1, rings(points))
    areas = domain_polygons(points, codes)
    assert sorted(areas) == [1, 2]
    np.testing.assert_array_equal(labels_read_back(areas, points), codes)


@pytest.mark.parametrize(
    "points",
    [[[5.0, 5.0]], [[0.0, 0], [0, 0], [9, 9]], [[float(i), 0.0] for i in range(9)]],
    ids=["one", "same", "line"],
)
def test_few_spots(points):
    points = np.array(points)
    areas = domain_polygons(points, np.zeros(len(points), int))
    assert (labels_read_back(areas, points) == 0).all()


def test_many_cells_with_all_their_corners_are_read_back():
    points = cells(20_000, seed=1)
    codes = rings(points)
    areas = domain_polygons(points, codes, tolerance=1.0)
    assert (labels_read_back(areas, points) == codes).mean() > 0.9999  # those that are nearly in one place count once


@pytest.mark.parametrize("seed", [33, 43])
def test_the_shortest_borders_keep_their_sides(seed):
    """Corners are rounded, which turns borders about as short as the grid around; their rings close all the same."""
    rng = np.random.default_rng(seed)
    points, codes = rng.random((3000, 2)) * 10 * np.sqrt(3000), rng.integers(0, 3, 3000)
    areas = domain_polygons(points, codes)
    assert all(area.is_valid for area in areas.values())
    np.testing.assert_array_equal(labels_read_back(areas, points), codes)
