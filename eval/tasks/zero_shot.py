"""Zero-shot classification (Radford et al. 2021): pictures against the names of classes.

Protocol: a class is the normalised mean of the normalised embeddings of its name in the 80 ImageNet templates of CLIP
(or of `templates.json`); top-1, top-5, and top-1 averaged over classes; a tie counts as wrong. Local data: folders of
class folders, `DIR/zeroshot/NAME/CLASS/*`. A class is named by its folder, with `_` for spaces, or by `classes.json`
(`{folder: name}`) next to the folders. From the Hub: CIFAR-10 and CIFAR-100 with their own class names, and ImageNet,
which needs `open_clip` for CLIP's 1,000 names.
"""

import importlib.util
import logging
from pathlib import Path

import numpy as np

from modeling_paraclip.errors import InputError

from ..data import HubSource, MissingData, hub_labels, read_json, rows_of
from ..encoders import Encoder
from ..metrics.zero_shot_accuracy.zero_shot_accuracy import mean_per_class, ranks_of

logger = logging.getLogger(__name__)
TEMPLATES = Path(__file__).with_name("imagenet_templates.txt")  # of CLIP (MIT), https://github.com/openai/CLIP
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}
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


def zero_shot(encoder: Encoder, data_dir: Path | None) -> dict[tuple[str, str], np.ndarray]:
    """(data set, "top1_accuracy" | "top5_accuracy" | "mean_per_class_accuracy") -> (n,) values."""
    measured, reasons = {}, []
    for name, load in (_local(data_dir) if data_dir else _hub()).items():
        try:
            classes, labels, pictures, templates = load()
        except MissingData as error:
            reasons.append(str(error))
            continue
        class_embeds = embed_classes(encoder, classes, templates)
        scores = encoder.pictures(pictures) @ class_embeds.T
        try:
            right_at = ranks_of(scores, labels)
        except ValueError as error:  # e.g. labels of a test set that are held back
            raise InputError(f"{name}: {error}") from error
        top1 = (right_at < 1).astype(float)
        measured[name, "top1_accuracy"] = top1
        if len(classes) > 5:
            measured[name, "top5_accuracy"] = (right_at < 5).astype(float)
        measured[name, "mean_per_class_accuracy"] = mean_per_class(top1, labels)
    if not measured:
        raise MissingData("; ".join(reasons) or f"{data_dir}/zeroshot has no folder of class folders")
    for reason in reasons:
        logger.warning("zero_shot, in part: %s", reason)
    return measured


def embed_classes(encoder: Encoder, classes: list[str], templates: list[str]) -> np.ndarray:
    """(classes, dim), normalised."""
    prompts = [template.replace("{}", name) for name in classes for template in templates]
    embeds = encoder.texts(prompts).reshape(len(classes), len(templates), -1).mean(axis=1)
    return embeds / np.linalg.norm(embeds, axis=1, keepdims=True)


def _local(data_dir: Path) -> dict:
    root = data_dir / "zeroshot"
    return {folder.name: lambda folder=folder: _class_folders(folder) for folder in sorted(root.glob("*/"))}


def _class_folders(folder: Path):
    classes_file, templates_file = folder / "classes.json", folder / "templates.json"
    names = read_json(classes_file) if classes_file.is_file() else {}
    if not isinstance(names, dict) or not all(isinstance(name, str) and name.strip() for name in names.values()):
        raise InputError(f"{classes_file}: a JSON object is needed: folder -> name of the class.")
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    unnamed = [path.name for path in folders if names and path.name not in names]
    if unnamed:
        raise InputError(f"{classes_file} has no name for {', '.join(unnamed[:3])} ({len(unnamed)} in all).")
    pictures, labels = [], []
    for label, path in enumerate(folders):
        own = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not own:
            raise InputError(f"{path} has no pictures.")
        pictures += [{"path": str(file), "bytes": None} for file in own]
        labels += [label] * len(own)
    if len(folders) < 2:
        raise InputError(f"{folder} has {len(folders)} class folders; at least 2 are needed.")
    templates = read_json(templates_file) if templates_file.is_file() else _templates()
    if not isinstance(templates, list) or not templates or not all(isinstance(t, str) for t in templates):
        raise InputError(f'{templates_file}: a JSON list of texts is needed, e.g. ["a photo of a {{}}."].')
    without = [template for template in templates if "{}" not in template]
    if without:
        raise InputError(f"{templates_file}: {without[0]!r} has no {{}} where the class goes.")
    return (
        [names.get(path.name, path.name.replace("_", " ")) for path in folders],
        np.array(labels),
        pictures,
        templates,
    )


def _templates() -> list[str]:
    return TEMPLATES.read_text(encoding="utf-8").splitlines()


def _hub() -> dict:
    return {name: lambda name=name, source=source: _from_hub(name, source) for name, source in HUB.items()}


def _from_hub(name: str, source: HubSource):
    if name == "ImageNet":
        if importlib.util.find_spec("open_clip") is None:
            raise MissingData("ImageNet needs the class names of open_clip: pip install open_clip_torch")
        from open_clip import IMAGENET_CLASSNAMES

        classes = IMAGENET_CLASSNAMES
    rows = rows_of(None, source, numbers=("label",), pictures=("image",))
    if name != "ImageNet":
        classes = [label.replace("_", " ") for label in hub_labels(source, "label")]
    return list(classes), np.array([int(row["label"]) for row in rows]), [row["image"] for row in rows], _templates()
