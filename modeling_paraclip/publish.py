"""What is published: the base's own bytes, with the trained text tower in them.

Nothing is converted on the way: each tensor of the base is copied as its file has it, each tensor of the text tower is
written in the dtype that it had there, and configuration, tokenizer and processor are the base's files. What may be
uploaded is an allow-list, `published_files`: never whatever else is in the folder.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from huggingface_hub import HfApi, ModelCardData, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from . import checkpoints, readers
from .architectures import DUAL_ENCODERS, is_text_weight, plain_class
from .errors import CheckpointError, InputError, printable
from .modeling import add_lora, load_clip, train_last_layers
from .weights import (
    INDEX,
    WEIGHTS,
    as_bytes,
    bound_waits,
    commit_of,
    find_file,
    open_config,
    open_model,
    open_processor,
    read_json,
    shards,
    weight_files,
)

# Copied from the base as they are, where it has them.
COPIED = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model"),
    *("preprocessor_config.json", "processor_config.json"),
)
ADAPTER = ("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "adapter/README.md")
CARD, RESULTS, SHEET = "README.md", "results.json", "rankings.png"
PUBLISHING = ".publishing"  # the folder in which a model is written before its files are moved into place
ADAPTER_CARD = """---
{metadata}
---

# LoRA adapter of a ParaCLIP text tower

The adapter alone, for those who have its base; the folder above holds the merged model.

```python
from peft import PeftModel
from transformers import {kind}

base = {kind}.from_pretrained({base})
model = PeftModel.from_pretrained(base, "FOLDER_OR_HUB_ID", subfolder="adapter")
```
"""


def published_files(folder: str | Path, *, pictures: bool = False) -> list[str]:
    """The files in `folder` that publication writes, by name: the only ones that are ever uploaded or removed.

    Args:
        pictures: whether the sheet of rankings, which shows the user's pictures, is one of them.
    """
    folder = Path(folder)
    names = ["config.json", WEIGHTS, INDEX, *COPIED, *readers.FILES, *ADAPTER, CARD, RESULTS]
    names = list(dict.fromkeys([*names, *([SHEET] if pictures else [])]))
    if (folder / INDEX).is_file():
        names += shards(folder / INDEX)
    return [name for name in names if (folder / name).is_file()]


@contextmanager
def staged(output_dir: str | Path):
    """A folder next to the final files, whose files are moved there together once they are all written.

    `config.json` leaves first and arrives last: a folder without it is no model, so a kill in between never leaves one
    that mixes two runs.

    Raises:
        CheckpointError: it could not be written, e.g. because the disk is full.
    """
    output_dir = Path(output_dir)
    aside = output_dir / PUBLISHING
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        yield aside
        (output_dir / "config.json").unlink(missing_ok=True)
        for name in published_files(output_dir, pictures=True):
            (output_dir / name).unlink()
        written = [path.relative_to(aside) for path in aside.rglob("*") if path.is_file()]
        for path in sorted(written, key=lambda path: str(path) == "config.json"):
            (output_dir / path).parent.mkdir(exist_ok=True)
            os.replace(aside / path, output_dir / path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the model could not be written to {output_dir}: {str(error).rstrip('.')}.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def publish_model(
    model: PreTrainedModel | PeftModel, base_name_or_path: str | Path, output_dir: str | Path, **hub_kwargs
) -> None:
    """Write what users download: the base with the text tower of `model`.

    A LoRA model is also written as PEFT does it, to `output_dir/adapter`, then merged (in place) for publication.

    Raises:
        InputError: the base has no safetensors weights, or they lack a tensor of the text tower.
        CheckpointError: it could not be written.
    """
    with staged(output_dir) as aside:
        if isinstance(model, PeftModel):
            _write_adapter(model, base_name_or_path, aside / "adapter")
            model = model.merge_and_unload()
        write_model(text_weights(model), base_name_or_path, aside, **hub_kwargs)


def publish_checkpoint(checkpoint: str | Path, output_dir: str | Path, base_name_or_path: str | None = None) -> None:
    """Make a model of a checkpoint of `train.py`.

    Args:
        base_name_or_path: where the base is now. Default: where it was in training.

    Raises:
        InputError: the checkpoint is not complete, was trained from another base, or the base cannot be opened.
    """
    run = checkpoints.check_intact(checkpoint)["run"]
    if not {"base", "revision", "lora"} <= run.keys():
        raise InputError(f"{checkpoint} does not say which base it was trained from.")
    base = base_name_or_path or run["base"]
    hub_kwargs = {"revision": run["revision"]} if base_name_or_path is None else {}
    check_base(base, **hub_kwargs)
    open_processor(base, **hub_kwargs)  # it is published too, and has to open
    model: PreTrainedModel | PeftModel = load_clip(base, vision=False, **hub_kwargs)
    if run["lora"]:
        model = add_lora(model, **run["lora"])  # type: ignore[arg-type]
    elif run.get("trained_layers") is not None:
        train_last_layers(model, run["trained_layers"])  # type: ignore[arg-type]
    checkpoints.load_trained(model, checkpoint)
    publish_model(model, base, output_dir, **hub_kwargs)


def text_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """The weights of a model's text tower, by name."""
    return {name: tensor for name, tensor in model.state_dict().items() if is_text_weight(name)}


def write_model(text: dict[str, Tensor], base_name_or_path: str | Path, folder: Path, **hub_kwargs) -> None:
    """Copy the base to `folder`, with `text`, the weights of a text tower, in place of its own; check the copy."""

    def base_file(name: str) -> Path | None:
        return find_file(base_name_or_path, name, **hub_kwargs)

    missing = set(text)
    weights = weight_files(base_name_or_path, **hub_kwargs)
    for file in weights:
        missing -= _write_weights(file, folder / file.name, text)
    if missing:
        raise InputError(f"the weights of {base_name_or_path} lack {', '.join(sorted(missing)[:3])}.")
    for name in (*([] if weights[0].name == WEIGHTS else [INDEX]), *COPIED):
        if source := base_file(name):
            shutil.copyfile(source, folder / name)
    config = base_file("config.json")
    if config is None:
        raise InputError(f"{base_name_or_path} has no config.json.")
    (folder / "config.json").write_bytes(_public_config(config))
    readers.write_reader_files(folder)


def check_base(base_name_or_path: str | Path, revision: str = "main") -> str:
    """Find out before training whether the result can be published. Returns the commit that a branch of the Hub is at.

    Raises:
        InputError: it cannot be found, or has no safetensors.
    """
    config = open_config(base_name_or_path, revision=revision)
    revision = commit_of(base_name_or_path, revision=revision) or revision
    if config.model_type in DUAL_ENCODERS:  # all of it: training may never touch an image tower that is broken
        open_model(DUAL_ENCODERS[config.model_type], base_name_or_path, hub_kwargs={"revision": revision})
    return revision


def full_repo_id(name: str, token: str | None = None) -> str:
    """`user/name` for a name without one. InputError where the Hub does not know the user."""
    try:
        user = str(hub_api(token).whoami()["name"])
    except Exception as error:
        said = hub_said(error, token)
        raise InputError(f"the Hub does not know you: {said} Run `hf auth login`.") from error
    return name if "/" in name else f"{user}/{name}"


def hub_api(token: str | None) -> HfApi:
    """A client of the Hub that gives up on a server that does not answer, which by default it never does."""
    bound_waits()
    return HfApi(token=token)


def hub_said(error: Exception, token: str | None) -> str:
    """What went wrong between us and the Hub, without the token, which an answer may repeat.

    The client raises errors of its own, those of its HTTP library and, on an answer that no Hub gives, nearly any.
    """
    text, token = str(error) or type(error).__name__, token or get_token()
    return text.replace(token, "...") if token else text


def upload(
    folder: str | Path,
    repo_id: str,
    *,
    pictures: bool = False,
    private: bool | None = None,
    revision: str | None = None,
    tag: str | None = None,
    token: str | None = None,
) -> str:
    """Upload what `published_files` lists, and nothing else that may be in the folder. Returns the address.

    All files appear together, or none. Those that were sent whole before an upload broke off are not sent again.

    Args:
        private: make the repository private, if it is new; one that is there already has to be.

    Raises:
        InputError: the repository is public where it should be private, or has the tag.
        CheckpointError: the upload failed. The folder stays as it is; a repository that was made for it is removed if
            the Hub refused the files, and stays, private and empty, if the connection broke.
    """
    api, is_new = hub_api(token), False
    try:
        is_new = not _is_there(api, repo_id, private, tag)
        api.create_repo(repo_id, private=private, exist_ok=True)
        is_public = is_new and not api.repo_info(repo_id).private  # as asked, or as the organization has it
        if is_public:  # not before it holds a model
            api.update_repo_settings(repo_id, private=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message="ParaCLIP",
            allow_patterns=published_files(folder, pictures=pictures),
        )
        if tag:
            api.create_tag(repo_id, tag=tag, revision=commit.oid)
        if is_public:
            api.update_repo_settings(repo_id, private=False)
    except InputError:
        raise
    except Exception as error:
        if is_new and _is_refusal(error):
            with suppress(Exception):  # the first error is the one to tell
                api.delete_repo(repo_id)
        raise CheckpointError(
            f"the upload failed: {hub_said(error, token)} The model is complete in {folder}; upload it from there: "
            f"python -m modeling_paraclip push. Files that were sent are not sent again."
        ) from error
    return str(commit)


def _is_there(api: HfApi, repo_id: str, private: bool | None, tag: str | None) -> bool:
    """Whether there is such a repository. InputError where it is not as it should be, before anything is sent."""
    try:
        found = api.repo_info(repo_id)
    except RepositoryNotFoundError:
        return False
    if private and not found.private:
        raise InputError(f"{repo_id} is there already, and public: make it private in its settings, or name another.")
    if tag and tag in [known.name for known in api.list_repo_refs(repo_id).tags]:
        raise InputError(f"{repo_id} has a tag {tag} already: name another one.")
    return True


def _is_refusal(error: BaseException | None) -> bool:
    """Whether the Hub said no, rather than nothing, or "later"."""
    while error is not None:
        if isinstance(error, HfHubHTTPError):
            return error.response.status_code in range(400, 500) and error.response.status_code not in (408, 425, 429)
        error = error.__cause__
    return False


def _write_weights(source: Path, target: Path, text: dict[str, Tensor]) -> set[str]:
    """Write one file of weights, and return which of `text` it holds."""
    replaced = set()
    with safe_open(source, "pt") as base:
        tensors, metadata = {}, base.metadata()
        for name in base.keys():  # noqa: SIM118 (it is not a dictionary)
            tensors[name] = tensor = base.get_tensor(name)
            if name in text:
                tensors[name] = text[name].detach().cpu().to(tensor.dtype).contiguous()
                replaced.add(name)
        save_file(tensors, target, metadata=metadata or {"format": "pt"})
        with safe_open(target, "pt") as written:
            for name, tensor in tensors.items():
                if not torch.equal(as_bytes(written.get_tensor(name)), as_bytes(tensor)):
                    raise CheckpointError(f"{target.name} was not written as it should be: {name} differs.")
    return replaced


def _public_config(file: Path) -> bytes:
    """The base's configuration as it is, but never a path of this machine, nor a hook for remote code."""
    config = read_json(file)
    private = {"_name_or_path", "auto_map"} & config.keys()
    if not private:
        return file.read_bytes()
    kept = {name: value for name, value in config.items() if name not in private}
    return (json.dumps(kept, indent=2) + "\n").encode()


def _write_adapter(model: PeftModel, base_name_or_path: str | Path, folder: Path) -> None:
    model.save_pretrained(str(folder))
    # of a local base its name, not its path, which is nobody's business
    base = Path(base_name_or_path).name if Path(base_name_or_path).exists() else str(base_name_or_path)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base
    # PEFT notes the class that it wrapped, which is ours; the plain one takes the adapter too
    kind = plain_class(model.get_base_model())
    config["auto_mapping"] = {"base_model_class": kind.__name__, "parent_library": kind.__module__}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    data = ModelCardData(base_model=printable(base), library_name="peft", tags=["paraclip", "lora"])
    named = printable(json.dumps(base, ensure_ascii=False))
    card = ADAPTER_CARD.format(metadata=data.to_yaml(), base=named, kind=kind.__name__)
    (folder / "README.md").write_text(card, encoding="utf-8")


def interpolate(base: PreTrainedModel, tuned: PreTrainedModel, alpha: float) -> dict[str, Tensor]:
    """The text tower at `alpha` between two of one base: 0 is the base's, 1 the tuned one's (WiSE-FT, Wortsman et al.
    2022). In float64, by name.

    Raises:
        InputError: alpha is outside 0..1, or the models are not of one base: their other weights differ.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha {alpha:g}: has to be between 0 (the base) and 1 (the tuned model).")
    ours, theirs = base.state_dict(), tuned.state_dict()
    text = text_weights(base)
    if ours.keys() != theirs.keys() or not all(torch.equal(ours[n], theirs[n]) for n in ours.keys() - text.keys()):
        raise InputError(
            f"{base.name_or_path} and {tuned.name_or_path} are not of one base: their other weights differ."
        )
    return {name: torch.lerp(weight.double(), theirs[name].double(), alpha) for name, weight in text.items()}
