"""Reports: self-contained HTML pages that open offline, made from what was written into AnnData.

The page of domains shows a map of each section over its tissue image, domains and markers, genes as measured and
denoised, training and facts of the run; for a study also an overview of its sections, the aligned stack and mixing.
Predictions from H&E, evaluations of methods, tasks of HEST-Bench and comparisons of conditions have other pages. Pages
need neither a plotting library nor the network.
"""

from histoquilt.report._comparison import write_comparison_report
from histoquilt.report._evaluation import write_evaluation_report
from histoquilt.report._exports import OpenedWith, write_exports_page
from histoquilt.report._hest import write_hest_report
from histoquilt.report._page import write_report
from histoquilt.report._prediction import write_prediction_report

__all__ = [
    "OpenedWith", "write_comparison_report", "write_evaluation_report", "write_exports_page", "write_hest_report",
    "write_prediction_report", "write_report",
]  # fmt: skip
