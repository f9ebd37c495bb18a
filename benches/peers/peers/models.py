"""The models of the comparison, and each peer's own file of them: `python -m peers.models NAME MINILM FOLDER CALIBRATION.json` makes what is
missing of the model NAME in FOLDER.

A model is a folder as sentence-transformers saves it; the peers' files lie in `peers/` below it.
"""

import json
import shutil
import sys
from pathlib import Path

import nncf
import numpy as np
import onnx
import openvino
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from transformers import BertConfig, BertModel

from peers.protocol import Ids

SEED = 7


class Pooled(torch.nn.Module):
    """BERT, the mean over the mask, and unit length: one graph from token ids to vectors."""

    def __init__(self, folder: Path, attention: str):
        super().__init__()
        self.bert = BertModel.from_pretrained(folder, attn_implementation=attention, add_pooling_layer=False, dtype=torch.float32)
        self.eval()

    def forward(self, input_ids, attention_mask):
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def copy_model(source: Path, folder: Path) -> None:
    """The files of a model in a folder where the peers may add theirs."""
    if not (folder / "model.safetensors").exists():
        shutil.copytree(source, folder)


def random_base(minilm: Path, folder: Path) -> None:
    """A BERT of base size with seeded random weights behind MiniLM's tokenizer and pooling: its vectors mean nothing, its speed does."""
    if (folder / "model.safetensors").exists():
        return
    shutil.copytree(minilm, folder, ignore=shutil.ignore_patterns("model.safetensors", "peers"))
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps(json.loads(pooling.read_text()) | {"word_embedding_dimension": 768}))
    torch.manual_seed(SEED)
    BertModel(BertConfig(vocab_size=30522, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072)).save_pretrained(folder)


def prepare(folder: Path, calibration: Ids) -> None:
    """Makes the peers' files of the model in `folder` that are not there yet."""
    out = folder / "peers"
    out.mkdir(exist_ok=True)
    _once(out / "ort-f32.onnx", lambda path: _export_ort(folder, path))
    _once(out / "ort-int8.onnx", lambda path: _quantize_ort(out / "ort-f32.onnx", path))
    _once(out / "openvino-f32.xml", lambda path: _export_openvino(folder, path))
    _once(out / "openvino-int8.xml", lambda path: _quantize_openvino(out / "openvino-f32.xml", path, calibration))


def _once(path: Path, make) -> None:
    if not path.exists():
        print(f"making {path.parent.parent.name}: {path.name}", file=sys.stderr)
        make(path)


def _example() -> dict:
    ids = torch.arange(1000, 1032).reshape(2, 16)
    mask = torch.ones_like(ids)
    mask[0, 10:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _export_ort(folder: Path, path: Path) -> None:
    """The eager graph through the tracing exporter: its pattern is the one that ONNX Runtime's optimiser fuses completely."""
    model = Pooled(folder, "eager")
    plain = path.with_suffix(".plain")
    axes = {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")}
    torch.onnx.export(
        model, tuple(_example().values()), plain, dynamo=False, opset_version=17, input_names=list(axes), output_names=["embedding"], dynamic_axes=axes
    )
    config = model.bert.config
    fused = optimizer.optimize_model(str(plain), "bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size, opt_level=0)
    counts = fused.get_fused_operator_statistics()
    wanted = {"EmbedLayerNormalization": 1, "Attention": config.num_hidden_layers, "BiasGelu": config.num_hidden_layers}
    missing = {name: counts[name] for name, count in wanted.items() if counts[name] != count}
    if missing:
        raise RuntimeError(f"ONNX Runtime's optimiser fused only {missing} of {wanted}")
    fused.save_model_to_file(str(path))
    plain.unlink()


def _quantize_ort(source: Path, path: Path) -> None:
    # The types behind the fused operators are unknown to shape inference; they are all floats.
    options = {"DefaultTensorType": onnx.TensorProto.FLOAT}
    quantize_dynamic(source, path, weight_type=QuantType.QInt8, per_channel=True, extra_options=options)


def _export_openvino(folder: Path, path: Path) -> None:
    shape = openvino.PartialShape([-1, -1])
    converted = openvino.convert_model(
        Pooled(folder, "sdpa"), example_input=_example(), input=[("input_ids", shape, np.int64), ("attention_mask", shape, np.int64)]
    )
    openvino.save_model(converted, path, compress_to_fp16=False)


def _quantize_openvino(source: Path, path: Path, calibration: Ids) -> None:
    items = [{"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), dtype=np.int64)} for ids in calibration]
    model = openvino.Core().read_model(source)
    quantized = nncf.quantize(model, nncf.Dataset(items), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(items))
    openvino.save_model(quantized, path, compress_to_fp16=False)


def main(name: str, minilm: Path, folder: Path, calibration: Path) -> None:
    make = {"minilm": copy_model, "base": random_base}[name]
    make(minilm, folder)
    prepare(folder, json.loads(calibration.read_text()))


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
