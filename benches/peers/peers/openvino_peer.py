"""OpenVINO: f32, bf16, and int8 quantised by NNCF with bf16 for what stays in floating point."""

import os
from pathlib import Path

import numpy as np
import openvino

from peers.protocol import Ids, padded_batches, serve

MODELS = {"f32": ("openvino-f32.xml", "f32"), "bf16": ("openvino-f32.xml", "bf16"), "int8": ("openvino-int8.xml", "bf16")}


class OpenVinoEngine:
    """Two compiled forms of the model: a stream per thread for many batches, and all threads on one stream for a single one."""

    def load(self, model: str, precision: str) -> dict:
        threads = int(os.environ["PEER_THREADS"])
        file, hint = MODELS[precision]
        core = openvino.Core()
        read = core.read_model(Path(model) / "peers" / file)
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint, "ENABLE_CPU_PINNING": False}
        self.streams = openvino.AsyncInferQueue(core.compile_model(read, "CPU", settings | {"NUM_STREAMS": threads}), threads)
        self.single = core.compile_model(read, "CPU", settings | {"NUM_STREAMS": 1}).create_infer_request()
        described = f"{threads} threads: a stream each for many batches, one stream for one; {hint} outside int8"
        return {"engine": "OpenVINO", "version": openvino.__version__.split("-")[0], "settings": described}

    def embed(self, ids: Ids) -> np.ndarray:
        batches = [{"input_ids": batch, "attention_mask": mask} for batch, mask in padded_batches(ids)]
        if len(batches) == 1:
            return self.single.infer(batches[0])[0].copy()
        rows = [None] * len(batches)

        def keep(request, at):
            rows[at] = request.get_output_tensor(0).data.copy()

        self.streams.set_callback(keep)
        for at, batch in enumerate(batches):
            self.streams.start_async(batch, at)
        self.streams.wait_all()
        return np.concatenate(rows)


if __name__ == "__main__":
    serve(OpenVinoEngine())
