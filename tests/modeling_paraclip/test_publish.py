import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from httpx2 import Request, Response
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from peft import AutoPeftModel, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModel, CLIPModel

from modeling_paraclip import (
    CheckpointError,
    InputError,
    add_lora,
    checkpoints,
    interpolate,
    load_clip,
    publish_model,
)
from modeling_paraclip.output_dir import earlier_files, remove_earlier_files
from modeling_paraclip.publish import check_base, hub_said, published_files, staged, upload
from tests.hub_double import HubDouble


def randomise(model):
    """Stand in for training: move every weight that trains."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)


def trained(folder, **lora):
    model = load_clip(folder, vision=False)
    model = add_lora(model, **lora) if lora else model
    randomise(model)
    return model


def as_bytes(tensor):
    return tensor.dtype, tensor.flatten().view(torch.uint8).tolist()


def test_merged_and_unmerged_agree_and_peft_reads_the_adapter(tiny_clip, tokenizer, tmp_path):
    model = add_lora(load_clip(tiny_clip), r=4)
    randomise(model)
    input_ids = tokenizer(["a red circle", "two stars"], padding=True, return_tensors="pt")["input_ids"]
    model.eval()
    with torch.no_grad():
        unmerged = model.get_base_model().encode_text(input_ids)
        base = CLIPModel.from_pretrained(tiny_clip).get_text_features(input_ids).pooler_output
        publish_model(model, tiny_clip, tmp_path)
        merged = CLIPModel.from_pretrained(tmp_path).get_text_features(input_ids).pooler_output
        plain = CLIPModel.from_pretrained(tiny_clip)
        adapted = PeftModel.from_pretrained(plain, tmp_path / "adapter").get_base_model().get_text_features(input_ids)
    assert (merged - base).abs().max() > 1e-2
    torch.testing.assert_close(merged, unmerged, rtol=0, atol=1e-5)
    torch.testing.assert_close(adapted.pooler_output, unmerged, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("use_lora", [False, True])
def test_frozen_tensors_are_the_bases_byte_for_byte(dtype, use_lora, tiny_clip, tmp_path):
    CLIPModel.from_pretrained(tiny_clip).to(dtype).save_pretrained(tmp_path / "base")
    model = load_clip(tmp_path / "base")
    model = add_lora(model) if use_lora else model
    randomise(model)
    publish_model(model, tmp_path / "base", tmp_path / "out")
    before, after = (load_file(tmp_path / folder / "model.safetensors") for folder in ("base", "out"))
    assert before.keys() == after.keys()
    assert {tensor.dtype for tensor in after.values()} == {dtype}
    for name, tensor in before.items():
        same = torch.equal(tensor.flatten().view(torch.uint8), after[name].flatten().view(torch.uint8))
        if name.startswith(("vision_model", "visual_projection", "logit_scale")):
            assert same, name
        elif name == "text_projection.weight":
            assert not same


def test_config_is_kept_and_names_the_plain_class(tiny_clip, tmp_path):
    """A QuickGELU model saved as GELU, or the old eos_token_id corrected, would silently embed differently."""
    base = CLIPModel.from_pretrained(tiny_clip)
    base.config.text_config.hidden_act = base.config.vision_config.hidden_act = "quick_gelu"
    base.config.text_config.eos_token_id = 2
    base.config.logit_scale_init_value = 1.25
    base.save_pretrained(tmp_path / "base")
    model = load_clip(tmp_path / "base")
    publish_model(model, tmp_path / "base", tmp_path / "out")
    before, after = (CLIPModel.from_pretrained(tmp_path / folder).config.to_dict() for folder in ("base", "out"))
    before.pop("_name_or_path", None)
    after.pop("_name_or_path", None)
    assert after == before
    assert after["architectures"] == ["CLIPModel"]


def test_each_tensor_keeps_its_own_dtype_and_nothing_is_dropped(tiny_clip, tmp_path):
    """A base of mixed dtypes, whose configuration names another one, with a buffer that the model does not have."""
    base = tmp_path / "base"
    shutil.copytree(tiny_clip, base)
    tensors = load_file(base / "model.safetensors")
    for i, name in enumerate(sorted(tensors)):
        tensors[name] = tensors[name].to((torch.float32, torch.float16, torch.bfloat16)[i % 3])
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt", "note": "mine"})
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    publish_model(trained(base), base, tmp_path / "out")
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert {name: tensor.dtype for name, tensor in after.items()} == {n: t.dtype for n, t in tensors.items()}
    changed = {name for name in tensors if as_bytes(tensors[name]) != as_bytes(after[name])}
    assert {name.split(".")[0] for name in changed} == {"text_model", "text_projection"}
    assert "text_model.embeddings.position_ids" not in changed


def test_a_sharded_base_stays_sharded(tiny_clip, tmp_path):
    CLIPModel.from_pretrained(tiny_clip).save_pretrained(tmp_path / "base", max_shard_size="40KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_clip / name, tmp_path / "base")
    model = trained(tmp_path / "base")
    publish_model(model, tmp_path / "base", tmp_path / "out")
    shards = {path.name for path in (tmp_path / "base").glob("*.safetensors")}
    assert len(shards) > 1
    assert shards <= set(published_files(tmp_path / "out"))
    weight = CLIPModel.from_pretrained(tmp_path / "out").text_projection.weight
    assert torch.equal(weight, model.text_projection.weight)


def test_tokenizer_and_processor_are_the_bases_bytes(tiny_clip, tmp_path):
    """Not what a tokenizer in memory would write: it remembers truncation and padding. SentencePiece's are its only
    ones.
    """
    base = shutil.copytree(tiny_clip, tmp_path / "base")
    for name in ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model"):
        (base / name).write_bytes(name.encode())
    publish_model(trained(base), base, tmp_path / "out")
    for path in base.iterdir():
        if path.name not in ("model.safetensors",):
            assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name


def test_no_path_of_this_machine_and_no_remote_code(tiny_clip, tmp_path):
    base = tmp_path / "private-place"
    shutil.copytree(tiny_clip, base)
    config = json.loads((base / "config.json").read_text())
    config |= {"_name_or_path": str(base), "auto_map": {"AutoModel": "code.Model"}}
    (base / "config.json").write_text(json.dumps(config))
    publish_model(trained(base, r=4), base, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path
            assert b'auto_map"' not in path.read_bytes(), path


@pytest.mark.parametrize("kind", ["CLIPModel", "SiglipModel", "VisionTextDualEncoderModel"])
def test_adapter_opens_with_auto_peft_model(kind, request, tokenizer, tmp_path, monkeypatch):
    """With the base in the current folder, as the adapter names a local base without its path."""
    base = tmp_path / "base-clip"
    bases = {"CLIPModel": "tiny_clip", "SiglipModel": "tiny_siglip", "VisionTextDualEncoderModel": "tiny_dual"}
    shutil.copytree(request.getfixturevalue(bases[kind]), base)
    publish_model(trained(base, r=4), base, tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    adapted = AutoPeftModel.from_pretrained(tmp_path / "out" / "adapter").eval()
    assert type(adapted.get_base_model()).__name__ == kind
    input_ids = torch.tensor([[1, 5, 7, 9, 3]])
    with torch.no_grad():
        expected = AutoModel.from_pretrained(tmp_path / "out").eval().get_text_features(input_ids).pooler_output
        found = adapted.get_base_model().get_text_features(input_ids).pooler_output
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    card = (tmp_path / "out" / "adapter" / "README.md").read_text()
    assert "base_model: base-clip" in card and "library_name: peft" in card
    assert f'base = {kind}.from_pretrained("base-clip")' in card


def test_only_an_allow_list_is_ever_published_or_removed(tiny_clip, tmp_path):
    publish_model(trained(tiny_clip, r=4), tiny_clip, tmp_path)
    planted = ["secrets.env", "pictures/me.jpg", "weights.pkl", "captions-private.csv", "not_finite_batch.json",
               "adapter/notes.txt", ".publishing-old", "checkpoint-best/x.safetensors", "rankings.png"]  # fmt: skip
    for name in planted:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    (tmp_path / "checkpoint-3").mkdir()
    checkpoints.mark_complete(tmp_path / "checkpoint-3", global_step=3, max_steps=3, seconds=0, run={})
    (tmp_path / "trainer_state.json").write_text("{}")
    published = published_files(tmp_path)
    assert {"config.json", "model.safetensors", "tokenizer.json", "adapter/adapter_config.json"} <= set(published)
    assert not set(published) & set(planted)
    assert "rankings.png" in published_files(tmp_path, pictures=True)
    state = {"rankings.png", "trainer_state.json", "not_finite_batch.json"}
    assert set(earlier_files(tmp_path)) == {*published, *state, "checkpoint-3"}
    remove_earlier_files(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(planted) - state


def test_a_kill_while_publishing_never_mixes_two_models(tiny_clip, tmp_path, monkeypatch):
    """Killed before any of its moves: the folder holds the old model, the new one, or none that opens."""
    new = trained(tiny_clip)
    publish_model(load_clip(tiny_clip), tiny_clip, tmp_path / "old")
    publish_model(new, tiny_clip, tmp_path / "new")
    old_bytes, new_bytes = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("old", "new"))
    moves, move = 0, os.replace

    def counted(source, target):
        nonlocal moves
        moves += 1
        move(source, target)

    monkeypatch.setattr(os, "replace", counted)
    publish_model(new, tiny_clip, tmp_path / "counted")
    assert moves >= 4
    for killed_at in range(moves):
        out = tmp_path / f"killed-{killed_at}"
        shutil.copytree(tmp_path / "old", out)
        (out / "README.md").write_text("the old card")
        done = 0

        def killed(source, target, killed_at=killed_at):
            nonlocal done
            if done == killed_at:
                raise KeyboardInterrupt
            done += 1
            move(source, target)

        monkeypatch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            publish_model(new, tiny_clip, out)
        if (out / "config.json").exists():
            weights = (out / "model.safetensors").read_bytes()
            assert weights == old_bytes or (weights == new_bytes and not (out / "README.md").exists())


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tiny_clip, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modeling_paraclip.publish.save_file", full)
    with pytest.raises(CheckpointError, match=r"could not be written to .*No space left"):
        publish_model(load_clip(tiny_clip), tiny_clip, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_wrong_copy_is_noticed(tiny_clip, tmp_path, monkeypatch):
    def careless(tensors, path, metadata):
        save_file({name: tensor + (tensor.numel() == 1) for name, tensor in tensors.items()}, path, metadata)

    monkeypatch.setattr("modeling_paraclip.publish.save_file", careless)
    with pytest.raises(CheckpointError, match="logit_scale differs"):
        publish_model(load_clip(tiny_clip), tiny_clip, tmp_path / "out")


def test_staged_files_arrive_together(tmp_path):
    with pytest.raises(UnicodeEncodeError), staged(tmp_path) as aside:
        (aside / "config.json").write_text("{\ud800}", encoding="utf-8")
    assert not list(tmp_path.iterdir())
    with staged(tmp_path) as aside:
        (Path(aside) / "config.json").write_text("{}")
        assert not (tmp_path / "config.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_interpolation_runs_from_base_to_tuned(tiny_clip, tmp_path):
    publish_model(trained(tiny_clip), tiny_clip, tmp_path)
    base, tuned = CLIPModel.from_pretrained(tiny_clip), CLIPModel.from_pretrained(tmp_path)
    for alpha in (0, 0.25, 1):
        for name, weight in interpolate(base, tuned, alpha).items():
            expected = (1 - alpha) * base.state_dict()[name].double() + alpha * tuned.state_dict()[name].double()
            torch.testing.assert_close(weight, expected)
    for alpha in (7, -0.1):
        with pytest.raises(InputError, match="has to be between 0"):
            interpolate(base, tuned, alpha)


def test_models_of_two_bases_are_not_interpolated(tiny_clip):
    base, other = CLIPModel.from_pretrained(tiny_clip), CLIPModel.from_pretrained(tiny_clip)
    other.visual_projection.weight.data += 1
    with pytest.raises(ValueError, match="not of one base"):
        interpolate(base, other, 0.5)


UPLOAD = """
import sys
from modeling_paraclip import CheckpointError
from modeling_paraclip.publish import upload

try:
    upload(sys.argv[1], "tester/model")
except CheckpointError as error:
    print(error)
"""


def test_a_failed_upload_leaves_no_empty_repository_and_removes_none_of_others(tiny_clip, tmp_path):
    with HubDouble() as hub:
        hub.refuse = "/commit/"
        for before in ({}, {"tester/model": {"README.md": b"mine"}}):
            hub.repos = dict(before)
            command = [sys.executable, "-c", UPLOAD, str(tiny_clip)]
            done = subprocess.run(command, env=hub.environment(tmp_path), capture_output=True, text=True, check=True)
            assert "the upload failed" in done.stdout and "hf_secret" not in done.stdout + done.stderr
            assert hub.repos == before


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [
        (ConnectionError("reset by peer"), True),
        (RuntimeError("Error while uploading 'model.safetensors'"), True),
        (HfHubHTTPError("busy", response=Response(503, request=Request("PUT", "http://hub"))), True),
        (HfHubHTTPError("slower", response=Response(429, request=Request("PUT", "http://hub"))), True),
        (HfHubHTTPError("no room", response=Response(413, request=Request("PUT", "http://hub"))), False),
    ],
)
def test_what_was_sent_stays_where_the_connection_broke(error, is_kept, tiny_clip, monkeypatch):
    made, removed = [], []

    class Hub:
        def repo_info(self, repo_id, **_):
            if not made:
                raise RepositoryNotFoundError("no", response=Response(404, request=Request("GET", "http://hub")))
            return made[0]

        def create_repo(self, *_, **__):
            made.append(SimpleNamespace(private=False))

        def update_repo_settings(self, repo_id, private):
            made[0].private = private

        def upload_folder(self, **_):
            raise RuntimeError("Error while uploading") from error

        def delete_repo(self, repo_id):
            removed.append(repo_id)

    monkeypatch.setattr("modeling_paraclip.publish.hub_api", lambda token: Hub())
    with pytest.raises(CheckpointError, match="Files that were sent are not sent again"):
        upload(tiny_clip, "tester/model")
    assert removed == ([] if is_kept else ["tester/model"])
    assert made[0].private  # nobody sees it empty


def test_a_token_is_never_repeated():
    assert hub_said(ValueError("bad token hf_secret!"), "hf_secret") == "bad token ...!"
    assert hub_said(KeyError(), None) == "KeyError"


def test_a_base_whose_image_tower_is_broken_is_found_before_the_work(tiny_clip, tmp_path):
    """A training on image_embeds never opens it."""
    assert check_base(tiny_clip) == "main"
    base = shutil.copytree(tiny_clip, tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    tensors["visual_projection.weight"][0, 0] = float("nan")
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"base do not fit .*visual_projection\.weight hold numbers that are not"):
        check_base(base)


def test_a_hostile_name_of_the_base_is_inert_in_the_adapters_card(tiny_clip, tmp_path):
    name = "evil\n---\nlicense: mit {{ 7*191 }} \x1b]0; \u202e"
    base = shutil.copytree(tiny_clip, tmp_path / name)
    publish_model(add_lora(load_clip(base), r=4), base, tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "adapter" / "README.md")
    assert card.data.license is None and card.data.library_name == "peft"
    assert "\x1b" not in card.content and "\u202e" not in card.content
