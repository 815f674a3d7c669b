"""Progress of long work."""

from histoquilt.runtime import _progress_bar, progress_bar


def test_progress_is_logged_where_there_is_no_terminal(caplog, monkeypatch):
    monkeypatch.setattr(_progress_bar, "SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level("INFO", logger="histoquilt")
    with progress_bar("Fitting", 2000) as advance:
        advance(1500, note="fold 2")
    with progress_bar("Fitting", None) as advance:
        advance()
    with progress_bar("Fitting", None, enabled=False) as advance:
        advance(7)
    assert caplog.messages == ["Fitting: 1,500 of 2,000, fold 2", "Fitting: step 1"]
