"""What all exports have in common."""

import numpy as np
import pytest

from modeling_paraclip import CheckpointError, InputError
from modeling_paraclip import __main__ as cli
from modeling_paraclip.exports import EXPORTS, diffusers, export_model


def run(*arguments):
    cli.main(["export", *map(str, arguments)])


def test_one_command_writes_compares_and_says_how_to_install(clip, tiny_clip, tmp_path, capsys):
    run(clip, "--for", "diffusers", "--base", tiny_clip, "--output", tmp_path / "out")
    said = capsys.readouterr().out
    assert "are the base's, byte for byte: the index of pictures stays valid" in said
    assert "text_encoder: 100 texts, largest difference from torch 0.0e+00" in said
    assert f'from_pretrained("{tmp_path}/out/text_encoder")' in said


def test_another_base_is_refused_before_anything_is_written(exported, clip, tmp_path):
    from modeling_paraclip import BASE_MODEL_DIR

    with pytest.raises(SystemExit, match=r"the image tower of .* is not that of"):
        run(clip, "--for", "diffusers", "--base", BASE_MODEL_DIR, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_mixed_with_what_is_there(clip, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match=r"holds mine\.txt: name another folder"):
        export_model(clip, "diffusers", tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "kept" and not (tmp_path / "text_encoder").exists()
    with pytest.raises(InputError, match="is read from, so it cannot be the output"):
        export_model(clip, "diffusers", clip)


def test_what_differs_from_torch_is_not_written(clip, tmp_path, monkeypatch):
    encode = diffusers.encode
    monkeypatch.setattr(
        diffusers, "encode", lambda folder, texts: {name: v + 2e-4 for name, v in encode(folder, texts).items()}
    )
    with pytest.raises(CheckpointError, match=r"largest difference from torch 2\.0e-04, more than 0\.0001"):
        export_model(clip, "diffusers", tmp_path / "out")
    assert not [path for path in (tmp_path / "out").iterdir() if path.name[0] != "."]
    monkeypatch.setattr(diffusers, "encode", lambda folder, texts: {"broken": np.array([np.nan])})
    with pytest.raises(CheckpointError, match="largest difference from torch inf"):
        export_model(clip, "diffusers", tmp_path / "out")


def test_a_package_that_is_missing_is_named(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("modeling_paraclip.exports.tower.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs onnx, onnxruntime, onnxscript: pip install 'paraclip\[export\]'"):
        export_model(clip, "immich", tmp_path / "out")


@pytest.mark.parametrize(
    ("application", "message"),
    [
        ("immich", "is a SigLIP: Immich changes"),
        ("fastembed", "is a SigLIP, and fastembed reads none"),
        ("weaviate", "is no CLIP, and the sentence-transformers of"),
        ("open_clip", "is no CLIP: only such"),
        ("diffusers", "is not CLIP's, which pipelines of diffusers take"),
    ],
)
def test_siglip_is_refused_where_it_is_not_read(application, message, siglip, tmp_path):
    with pytest.raises(InputError, match=message):
        export_model(siglip, application, tmp_path / "out")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_siglip_2_of_any_resolution_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "siglip2"}')
    with pytest.raises(SystemExit, match="is a model of type 'siglip2': what is exported is of type clip,"):
        run(tmp_path, "--for", "onnx", "--output", tmp_path / "out")


def test_every_export_has_the_same_parts():
    for module in EXPORTS.values():
        assert module.VECTORS in ("embeds", "unit", "states") and module.INSTALL.format(
            output="OUT", dim=8, vectors="text_embeds"
        )
        assert module.MARKS and callable(module.export) and callable(module.encode) and module.__doc__
