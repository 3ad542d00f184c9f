"""transformers.js, in a browser or under Node: the files of `onnx`, which are laid out as it reads them."""

from .onnx import NEEDS, VECTORS, encode, export

__all__ = ["INSTALL", "NEEDS", "VECTORS", "encode", "export"]

INSTALL = """\
const tokenizer = await AutoTokenizer.from_pretrained("{output}");
const model = await CLIPTextModelWithProjection.from_pretrained("{output}", {{ dtype: "fp32" }});  // or "fp16", "q8"
const {{ text_embeds }} = await model(tokenizer(queries, {{ padding: true, truncation: true }}));
The vectors are not normalised: text_embeds.normalize(2, -1)."""
