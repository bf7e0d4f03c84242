import numpy as np

class MaskedTrees:
    def __init__(
        self,
        thresholds: np.ndarray,
        first_threshold: np.ndarray,
        trees: np.ndarray,
        first_tree: np.ndarray,
        masks: np.ndarray,
        leaves: np.ndarray,
    ) -> None: ...
    def margins(self, x: np.ndarray) -> np.ndarray: ...
