"""The report: one self-contained HTML page that opens offline, made from what was written into AnnData.

It holds the domain map of every section (a canvas, over the tissue image where there is one), the domains and their
markers, genes as measured and denoised, the training curve and the facts of the run; for a study first what its
sections have in common: an overview, the aligned stack, mixing before and after, the number of domains. No
plotting library is shipped with it or needed to write it, and it asks the network for nothing. Predictions from H&E and
the evaluation of methods that make them have pages of their own.
"""

from histoquilt.report._evaluation import write_evaluation_report
from histoquilt.report._page import write_report
from histoquilt.report._prediction import write_prediction_report

__all__ = ["write_evaluation_report", "write_prediction_report", "write_report"]
