"""A package of somebody else, which adds one of each kind to histoquilt by entry points alone."""

import hashlib
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

import histoquilt as hq
from histoquilt.models import DomainModel, ExpressionConfig, ExpressionModel, MethodState, ModelConfig


@dataclass(frozen=True)
class NeighborhoodConfig(ModelConfig):
    """Settings of the domain model below."""

    n_neighbors: int = 6
    n_rounds: int = 2


class Neighborhoods(DomainModel):
    """Domains by principal components of log counts, averaged over the neighbours."""

    method = "neighborhoods"
    config_class = NeighborhoodConfig

    def fit(
        self, adata, *, layer=None, use_rep=None, spatial_key="spatial", section_key=None, links=None, seed=0,
        device="auto", progress=True, checkpoint=None,
    ):  # fmt: skip
        values = self._values(adata)
        self._keys = {"spatial_key": spatial_key, "section_key": section_key}
        self._mean = values.mean(axis=0)
        self._axes = np.linalg.svd(values - self._mean, full_matrices=False)[2][:8].T
        self.training_facts = {"seed": seed, "n_spots": adata.n_obs}
        return self

    def embed(self, adata, *, links=None):
        points = (self._values(adata) - self._mean) @ self._axes
        graph = AnnData(obs=adata.obs, obsm={self._keys["spatial_key"]: adata.obsm[self._keys["spatial_key"]]})
        hq.gr.knn_graph(graph, self.config.n_neighbors, **self._keys)
        adjacency = graph.obsp["spatial_connectivities"] if links is None else hq.gr.union_links(
            graph.obsp["spatial_connectivities"], links
        )  # fmt: skip
        degree = np.asarray((adjacency != 0).sum(axis=1)).ravel() + 1
        for _ in range(self.config.n_rounds):
            points = ((adjacency != 0) @ points + points) / degree[:, None]
        return points.astype(np.float32)

    def state(self):
        return MethodState(arrays={"mean": self._mean, "axes": self._axes}, settings=self._keys)

    def restore(self, state):
        self._mean, self._axes, self._keys = state.arrays["mean"], state.arrays["axes"], state.settings

    @staticmethod
    def _values(adata):
        counts = csr_matrix(adata.X).toarray().astype(float)
        return np.log1p(1e3 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


class MedianExpression(ExpressionModel):
    """Every spot gets the median over the training spots."""

    method = "median"
    config_class = ExpressionConfig

    def fit_arrays(self, train, folds, seed, advance):
        held_out = {}
        for fold in folds:
            median = self._of([train[i] for i in fold.train])
            held_out |= {i: np.tile(median, (len(train[i].x), 1)) for i in fold.held_out}
        return self._of(train), [held_out[i] for i in range(len(train))]

    def predict_arrays(self, section):
        return np.tile(self.learnt, (len(section.x), 1))

    def state(self):
        return MethodState(arrays={"median": self.learnt})

    def restore(self, state):
        return state.arrays["median"]

    @staticmethod
    def _of(sections):
        return np.median(np.concatenate([section.measured for section in sections]), axis=0).astype(np.float32)


class MeanColor:
    """An encoder: mean and spread of red, green and blue."""

    n_features, input_px, mpp = 6, 16, None
    licence, citation = "BSD-3-Clause", ""
    digest = hashlib.sha256(b"mean and spread of colour").hexdigest()

    def __init__(self, argument, *, device):
        self.name = f"mean_color:{argument}" if argument else "mean_color"

    def embed(self, patches):
        pixels = patches.reshape(len(patches), -1, 3).astype(np.float32)
        return np.hstack([pixels.mean(axis=1), pixels.std(axis=1)])


class Spreadsheet:
    """A reader of files ``*.sheet``: x and y, then a column a gene."""

    label = "Spreadsheet"

    def recognises(self, path):
        return path.name.endswith(".sheet")

    def read(self, path):
        table = pd.read_csv(path, index_col=0)
        adata = AnnData(
            csr_matrix(table.iloc[:, 2:].to_numpy(np.float32)),
            obs=pd.DataFrame(index=table.index.astype(str)),
            var=pd.DataFrame(index=table.columns[2:]),
            obsm={"spatial": table[["x", "y"]].to_numpy(float)},
        )
        hq.io.record_coordinates(adata, "micron")
        return adata


SPREADSHEET = Spreadsheet()


class Lines:
    """An exporter: one line a spot, barcode and label."""

    label = "Lines"
    files = "<section>.txt"
    needs = MappingProxyType({})

    def write(self, section, folder, options):
        path = folder / f"{section.name}.txt"
        labels = section.labels(section.keys[0])
        path.write_text("\n".join(f"{name} {label}" for name, label in zip(section.barcodes, labels, strict=True)))
        return [path]


LINES = Lines()
