"""transformers.js, in a browser or under Node: the files of `onnx`, which are laid out as it reads them."""

from .onnx import MARKS, NEEDS, VECTORS, encode, export

__all__ = ["INSTALL", "MARKS", "NEEDS", "VECTORS", "encode", "export"]

INSTALL = """\
const tokenizer = await AutoTokenizer.from_pretrained("{output}");
const model = await CLIPTextModelWithProjection.from_pretrained("{output}", {{ dtype: "fp32" }});  // or "fp16", "q8"
const {{ {vectors} }} = await model(tokenizer(queries, {{ padding: true, truncation: true }}));
Of a SigLIP, the class is SiglipTextModel. The vectors are not normalised: {vectors}.normalize(2, -1)."""
