"""Zero-shot classification (Radford et al. 2021): pictures against the names of classes.

Protocol: a class is the normalised mean of the normalised embeddings of its name in CLIP's templates for the data set
(18 for CIFAR, 80 for ImageNet and all others, or those of `templates.json`); top-1, top-5, and top-1 averaged over
classes; a tie counts as wrong. MTEB uses one template for all.

Local data: folders of class folders, `DIR/zeroshot/NAME/CLASS/*`. A class is named by its folder, with `_` for spaces,
or by `classes.json` (`{folder: name}`) next to the folders. A folder that is called cifar10, cifar100 or imagenet is
taken for a part of that test set.

From the Hub: MTEB's copies of CIFAR-10 and CIFAR-100, with their own class names, and of ImageNet (the 50,000 pictures
of ILSVRC2012's validation set, which it calls "test"), which needs `open_clip` for CLIP's 1,000 names. Repositories,
revisions, splits and columns are those of `mteb.tasks`.
"""

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from modeling_paraclip.errors import InputError

from ..data import file_about, rows_of, share_of
from ..encoders import Encoder
from ..files import MissingData, read_json
from ..hub import HubSource, hub_labels
from ..metrics.zero_shot_accuracy.zero_shot_accuracy import ranks_of
from ..statistics import MEAN, About, Macro, Scored

logger = logging.getLogger(__name__)
# of CLIP (MIT): notebooks/Prompt_Engineering_for_ImageNet.ipynb and data/prompts.md in https://github.com/openai/CLIP
TEMPLATES = {
    name: Path(__file__).with_name(f"{name}_templates.txt").read_text(encoding="utf-8").splitlines()
    for name in ("imagenet", "cifar")
}
PUBLISHED = {"cifar10": 10_000, "cifar100": 10_000, "imagenet": 50_000}  # pictures of the test sets
MISPRINTS = {"cra": "crab"}  # in the names of the Hub's CIFAR-100
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}
ROWS = 4096  # scored at a time
HUB = {
    "CIFAR-10": HubSource(
        "mteb/cifar10", "69a62dd171e24a133d193073e73fda4dbb823266", "test", {"image": "img", "label": "label"}
    ),
    "CIFAR-100": HubSource(
        "mteb/cifar100", "ac5511f885f65fb75d31a9d8810a8440913f7721", "test", {"image": "img", "label": "fine_label"}
    ),
    "ImageNet": HubSource(
        "mteb/wds_imagenet1k", "b54c9af96641d8a2cba5d1144629c724de94ef76", "test", {"image": "jpg", "label": "cls"}
    ),
}


@dataclass(frozen=True)
class Classification:
    """Pictures and the classes that they are of.

    Args:
        classes: (c,) names.
        labels: (n,) the index of each picture's class.
        pictures: as `embed_pictures` takes them.
        templates: texts with {} where the class goes.
        about: where they come from.
    """

    classes: list[str]
    labels: np.ndarray
    pictures: Sequence[Mapping]
    templates: list[str]
    about: About


def zero_shot(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], Scored]:
    """(data set, "top1_accuracy" | "top5_accuracy" | "mean_per_class_accuracy") -> one 0 or 1 per picture."""
    measured, reasons = {}, []
    for name, load in (_local(data_dir) if data_dir else _hub()).items():
        try:
            found = load()
        except MissingData as error:
            reasons.append(str(error))
            continue
        class_embeds = embed_classes(encoder, found.classes, found.templates)
        try:
            right_at = _ranks(encoder.pictures(found.pictures), class_embeds, found.labels)
        except ValueError as error:  # e.g. labels of a test set that are held back
            raise InputError(f"{name}: {error}") from error
        top1 = (right_at < 1).astype(float)
        measured[name, "top1_accuracy"] = Scored(top1, MEAN, found.about)
        if len(found.classes) > 5:
            measured[name, "top5_accuracy"] = Scored((right_at < 5).astype(float), MEAN, found.about)
        measured[name, "mean_per_class_accuracy"] = Scored(top1, Macro(found.labels), found.about)
    if not measured:
        raise MissingData("; ".join(reasons) or f"{data_dir}/zeroshot has no folder of class folders")
    for reason in reasons:
        logger.warning("zero_shot, in part: %s", reason)
    return measured


def _ranks(image_embeds: np.ndarray, class_embeds: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) rank of the right class, of scores in float64: in float32 unequal ones can round to a tie."""
    columns = class_embeds.T.astype(np.float64)
    return np.concatenate(
        [
            ranks_of(image_embeds[start : start + ROWS].astype(np.float64) @ columns, labels[start : start + ROWS])
            for start in range(0, len(labels), ROWS)
        ]
    )


def embed_classes(encoder: Encoder, classes: list[str], templates: list[str]) -> np.ndarray:
    """(classes, dim), normalised."""
    prompts = [template.replace("{}", name) for name in classes for template in templates]
    embeds = encoder.texts(prompts).reshape(len(classes), len(templates), -1).mean(axis=1)
    return embeds / np.linalg.norm(embeds, axis=1, keepdims=True)


def _local(data_dir: Path) -> dict:
    root = data_dir / "zeroshot"
    return {folder.name: lambda folder=folder: _class_folders(data_dir, folder) for folder in sorted(root.glob("*/"))}


def _key(name: str) -> str:
    """A data set's name as `PUBLISHED` has it: "CIFAR-10" and "cifar10" are one."""
    return name.lower().replace("-", "").replace("_", "")


def _templates(name: str) -> list[str]:
    return TEMPLATES["cifar" if _key(name) in ("cifar10", "cifar100") else "imagenet"]


def _protocol(name: str, templates: list[str], given: bool) -> str:
    kind = "given" if given else "CIFAR" if _templates(name) is TEMPLATES["cifar"] else "ImageNet"
    return f"{len(templates)} {kind} templates"


def _class_folders(data_dir: Path, folder: Path) -> Classification:
    classes_file, templates_file = folder / "classes.json", folder / "templates.json"
    names = read_json(classes_file) if classes_file.is_file() else {}
    if not isinstance(names, dict) or not all(isinstance(name, str) and name.strip() for name in names.values()):
        raise InputError(f"{classes_file}: a JSON object is needed: folder -> name of the class.")
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    unnamed = [path.name for path in folders if names and path.name not in names]
    if unnamed:
        raise InputError(f"{classes_file} has no name for {', '.join(unnamed[:3])} ({len(unnamed)} in all).")
    pictures: list[dict] = []
    labels = []
    for label, path in enumerate(folders):
        own = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not own:
            raise InputError(f"{path} has no pictures.")
        pictures += [{"path": str(file), "bytes": None} for file in own]
        labels += [label] * len(own)
    if len(folders) < 2:
        raise InputError(f"{folder} has {len(folders)} class folders; at least 2 are needed.")
    given = templates_file.is_file()
    templates = read_json(templates_file) if given else _templates(folder.name)
    if not isinstance(templates, list) or not templates or not all(isinstance(t, str) for t in templates):
        raise InputError(f'{templates_file}: a JSON list of texts is needed, e.g. ["a photo of a {{}}."].')
    without = [template for template in templates if "{}" not in template]
    if without:
        raise InputError(f"{templates_file}: {without[0]!r} has no {{}} where the class goes.")
    about = file_about(
        data_dir,
        *filter(Path.is_file, (classes_file, templates_file)),
        protocol=_protocol(folder.name, templates, given),
        share=share_of(pictures, PUBLISHED.get(_key(folder.name))),
    )
    about = replace(about, source=f"zeroshot/{folder.name}", revision=about.revision if about.source else None)
    classes = [names.get(path.name, path.name.replace("_", " ")) for path in folders]
    return Classification(classes, np.array(labels), pictures, templates, about)


def _hub() -> dict:
    return {name: lambda name=name, source=source: _from_hub(name, source) for name, source in HUB.items()}


def _from_hub(name: str, source: HubSource) -> Classification:
    if name == "ImageNet" and importlib.util.find_spec("open_clip") is None:
        raise MissingData("ImageNet needs the class names of open_clip: pip install open_clip_torch")
    rows = rows_of(None, source, numbers=("label",), pictures=("image",))
    if name == "ImageNet":
        from open_clip import IMAGENET_CLASSNAMES

        classes = list(IMAGENET_CLASSNAMES)
    else:
        classes = [MISPRINTS.get(label, label.replace("_", " ")) for label in hub_labels(source, "label")]
    templates = _templates(name)
    about = source.about(protocol=_protocol(name, templates, False), share=share_of(rows, PUBLISHED[_key(name)]))
    labels = np.array([int(row["label"]) for row in rows])
    return Classification(classes, labels, [row["image"] for row in rows], templates, about)
