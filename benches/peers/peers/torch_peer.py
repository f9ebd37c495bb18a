"""sentence-transformers on PyTorch: f32 and bf16, fused attention, no gradients."""

import os

import numpy as np
import sentence_transformers
import torch

from peers.protocol import Ids, padded_batches, serve

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


class TorchEngine:
    """A SentenceTransformer, given token ids where it would tokenise."""

    def load(self, model: str, precision: str) -> dict:
        threads = int(os.environ["PEER_THREADS"])
        torch.set_num_threads(threads)
        options = {"dtype": DTYPES[precision], "attn_implementation": "sdpa"}
        self.model = sentence_transformers.SentenceTransformer(model, device="cpu", model_kwargs=options).eval()
        version = f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}"
        capability = torch.backends.cpu.get_cpu_capability()
        held = f", oneDNN at most {os.environ['ONEDNN_MAX_CPU_ISA']}" if "ONEDNN_MAX_CPU_ISA" in os.environ else ""
        return {"engine": "PyTorch", "version": version, "settings": f"{threads} threads, sdpa attention, inference mode, {capability}{held}"}

    @torch.inference_mode()
    def embed(self, ids: Ids) -> np.ndarray:
        rows = []
        for batch, mask in padded_batches(ids):
            features = {"input_ids": torch.from_numpy(batch), "attention_mask": torch.from_numpy(mask)}
            rows.append(self.model(features)["sentence_embedding"].float().numpy())
        return np.concatenate(rows)


if __name__ == "__main__":
    serve(TorchEngine())
