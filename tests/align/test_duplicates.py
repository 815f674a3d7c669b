"""Which spots of overlapping pieces are one place: worked out by hand, and by cutting a lattice."""

import numpy as np

from histoquilt.align import match_duplicate_spots


def lattice(n_columns: int, n_rows: int, pitch: float = 100.0) -> np.ndarray:
    column, row = np.meshgrid(np.arange(n_columns), np.arange(n_rows))
    return pitch * np.stack([column.ravel(), row.ravel()], axis=1)


def test_halves_of_a_lattice_laid_together_nearly_right():
    """Columns 0-5 and 4-9 of ten, the second half 30 of 100 microns off: the columns 4 and 5 are there twice."""
    whole = lattice(10, 8)
    left, right = whole[whole[:, 0] <= 500], whole[whole[:, 0] >= 400]
    microns, piece = np.concatenate([left, right + np.array([30, 0])]), np.repeat(["l", "r"], [len(left), len(right)])
    source = match_duplicate_spots(microns, piece)
    assert (source[: len(left)] == np.arange(len(left))).all()
    twice = np.flatnonzero(source != np.arange(len(source)))
    assert len(twice) == 2 * 8
    np.testing.assert_array_equal(microns[twice] - np.array([30, 0]), microns[source[twice]])
    assert len(np.unique(source)) == len(whole)


def test_pieces_that_only_touch_stay_whole():
    whole = lattice(10, 8)
    assert match_duplicate_spots(whole, np.where(whole[:, 0] < 500, "l", "r")).tolist() == list(range(80))


def test_beyond_half_a_pitch_two_spots_are_two_places():
    """Moved along the diagonal by 42 and by 57 of 100 microns; the spot itself stays the nearest."""
    piece = np.repeat(["l", "r"], 80)
    for shift, n_places in ((30, 80), (40, 160)):
        microns = np.concatenate([lattice(10, 8), lattice(10, 8) + shift])
        assert len(np.unique(match_duplicate_spots(microns, piece))) == n_places


def test_three_pieces_share_a_place_and_the_first_stands_for_it():
    microns, piece = np.tile(lattice(4, 4), (3, 1)), np.repeat(["a", "b", "c"], 16)
    assert match_duplicate_spots(microns, piece).tolist() == [*range(16)] * 3


def test_a_spot_stands_for_one_spot_of_a_piece_only():
    """Two spots of the second piece near one of the first: only the nearer is its twin."""
    first, second = lattice(4, 4), np.concatenate([[[10.0, 0.0], [20.0, 0.0]], lattice(3, 3) + 1000])
    source = match_duplicate_spots(np.concatenate([first, second]), np.repeat(["a", "b"], [16, 11]))
    assert source[16:18].tolist() == [0, 17]
