"""scikit-learn: k-means and PCA."""

import numpy as np
import sklearn
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA


class Engine:
    def __init__(self, variant: str, threads: int):
        self.threads = threads

    def describe(self) -> dict:
        settings = f"{self.threads} threads; k-means by Lloyd from random rows; PCA randomised"
        return {"engine": "scikit-learn", "version": sklearn.__version__, "settings": settings}

    def kmeans(self, rows: np.ndarray, k: int, iterations: int, seed: int) -> np.ndarray:
        # A start from random rows takes no time; k-means++ would cost more than the rounds.
        return KMeans(k, init="random", n_init=1, max_iter=iterations, tol=0, algorithm="lloyd", copy_x=False, random_state=seed).fit(rows).cluster_centers_

    def pca(self, rows: np.ndarray, components: int) -> np.ndarray:
        return PCA(components, svd_solver="randomized", random_state=7).fit(rows).components_
