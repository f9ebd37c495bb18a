"""ONNX Runtime: f32 and dynamic int8, both from the graph its own transformer optimiser has fused."""

import os
from pathlib import Path

import numpy as np
import onnxruntime

from peers.protocol import Ids, padded_batches, serve


class OrtEngine:
    """A session on the file that `models.prepare` left beside the model."""

    def load(self, model: str, precision: str) -> dict:
        threads = int(os.environ["PEER_THREADS"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        path = Path(model) / "peers" / f"ort-{precision}.onnx"
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        free = "; has no switch for instructions, uses all that the processor has" if "TALLOW_ISA" in os.environ else ""
        settings = f"{threads} threads, fused attention, embedding and skip layers{free}"
        return {"engine": "ONNX Runtime", "version": onnxruntime.__version__, "settings": settings}

    def embed(self, ids: Ids) -> np.ndarray:
        return np.concatenate(
            [self.session.run(None, {"input_ids": batch, "attention_mask": mask})[0] for batch, mask in padded_batches(ids)]
        )


if __name__ == "__main__":
    serve(OrtEngine())
