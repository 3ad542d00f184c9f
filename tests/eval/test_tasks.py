"""Every task on a small folder in the real schema, against the same figure worked out plainly; and what is wrong in
it."""

import json
import os
import re
import subprocess
import sys
import types

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from transformers import AutoProcessor, CLIPModel, VisionTextDualEncoderConfig, VisionTextDualEncoderModel

from eval import __main__ as cli
from eval import data, encoders, report, suite
from eval.encoders import load_encoder
from eval.tasks import aro, choices, cxc_sts, zero_shot
from tests.hub_double import HubDouble

WORDS = ["a red circle", "two blue stars", "a green ring on sand", "the black moon", "one white square left of a disc"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A little of everything."""
    root = tmp_path_factory.mktemp("data")
    for name in ("photos", "aro", "sugarcrepe", "sugarcrepe_pp", "winoground"):
        (root / name / "images").mkdir(parents=True)
        for i in range(6):
            pixels = np.random.default_rng(i).integers(0, 255, (60, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / "images" / f"{i}.png")
    pairs = [(i, WORDS[i % 5], WORDS[(i + 1) % 5]) for i in range(5)]

    def jsonl(path, rows):
        (root / path).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def tsv(path, header, rows):
        lines = [header, *rows]
        (root / path).write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))

    jsonl(
        "photos/captions.jsonl",
        [{"image": f"{i}.png", "split": "train" if i == 5 else "val", "captions": [a, b]} for i, a, b in pairs]
        + [{"image": "5.png", "split": "val", "captions": ["nothing here"]}],
    )
    jsonl(
        "photos/few_triples_val.jsonl",
        [{"image_id": f"{i}.png", "caption": a, "paraphrase_1": b, "paraphrase_2": a.upper()} for i, a, b in pairs],
    )
    box = {"bbox_x": 5, "bbox_y": 5, "bbox_w": 30, "bbox_h": 40}
    both = [{"image_path": f"{i}.png", "true_caption": a, "false_caption": b, **box} for i, a, b in pairs]
    relations = ["on", "on", "under", "near", "near"]  # "near" is symmetric
    (root / "aro/visual_genome_relation.json").write_text(
        json.dumps([{**row, "relation_name": name} for row, name in zip(both, relations)])
    )
    (root / "aro/visual_genome_attribution.json").write_text(
        json.dumps([{**row, "attributes": ["red", "blue"]} for row in both * 5])  # 25 items
    )
    tsv(
        "aro/negclip_x.tsv",
        ("image", "caption", "negatives_json"),
        [(f"{i}.png", a, json.dumps([b])) for i, a, b in pairs],
    )
    tsv("sugarcrepe/swap.tsv", ("image", "caption", "negative_caption"), [(f"{i}.png", a, b) for i, a, b in pairs])
    tsv(
        "sugarcrepe_pp/swap.tsv",
        ("image", "caption", "caption2", "negative_caption"),
        [(f"{i}.png", a, a + " there", b) for i, a, b in pairs],
    )
    jsonl(
        "winoground/examples.jsonl",
        [{"image_0": "0", "image_1": str(i + 1), "caption_0": a, "caption_1": b} for i, a, b in pairs],
    )
    (root / "cxc").mkdir()
    tsv("cxc/cxc_sts_val.tsv", ("score", "caption1", "caption2"), [(i, *WORDS[i : i + 2]) for i in range(4)])
    (root / "sts").mkdir()
    tsv("sts/STSB-test.tsv", ("score", "sentence1", "sentence2"), pairs)
    for name in ("red_dog", "cat"):
        (root / "zeroshot/pets" / name).mkdir(parents=True)
        for i in range(3):
            (root / "zeroshot/pets" / name / f"{i}.png").write_bytes((root / f"photos/images/{i}.png").read_bytes())
    return root


@pytest.fixture(scope="module")
def encoder(tiny_clip, tmp_path_factory):
    return load_encoder(str(tiny_clip), cache_dir=tmp_path_factory.mktemp("cache"))


def pictures(folder, *names):
    return [{"path": str(folder / name), "bytes": None} for name in names]


def test_all_tasks_in_one_command(folder, tiny_clip, tmp_path, capsys):
    arguments = ["--models", str(tiny_clip), str(tiny_clip) + "/.", "--data", str(folder)]
    arguments += ["--cache_dir", str(tmp_path / "cache"), "--report", str(tmp_path / "r.md")]
    cli.main([*arguments, "--output", str(tmp_path / "1.json"), "--plots", str(tmp_path / "plots")])
    cli.main([*arguments, "--output", str(tmp_path / "2.json")])
    assert "not run" not in capsys.readouterr().out
    first, second = ((tmp_path / f"{run}.json").read_text() for run in (1, 2))
    assert re.sub(r'"seconds": [\d.]+', "", first) == re.sub(r'"seconds": [\d.]+', "", second)
    entries = json.loads(first)
    assert {entry["task"] for entry in entries} == set(suite.TASKS)
    assert {entry["dataset"] for entry in entries if entry["task"] == "aro"} == {
        *("VG-Relation", "VG-Attribution", "photos-Order val")
    }
    assert all(-1 <= entry["ci95"][0] <= entry["ci95"][1] <= 2 for entry in entries)
    plots = {path.name for path in (tmp_path / "plots").iterdir()}
    assert plots == {*(f"{task}.png" for task in suite.TASKS), "overlap.png", "rankings.png"}
    assert (tmp_path / "r.md").read_text().startswith("| data set | metric | n |")


def test_everything_is_encoded_once(folder, tiny_clip, tmp_path, monkeypatch):
    encoder = load_encoder(str(tiny_clip), cache_dir=tmp_path)
    seen = []
    tokenize = encoder._towers.tokenize
    monkeypatch.setattr(encoder._towers, "tokenize", lambda texts: seen.extend(texts) or tokenize(texts))
    suite.evaluate(encoder, list(suite.TASKS), folder)
    assert len(seen) == len(set(seen))
    again = load_encoder(str(tiny_clip), cache_dir=tmp_path)
    monkeypatch.setattr(again._towers, "tokenize", lambda texts: pytest.fail("encoded again"))
    monkeypatch.setattr(again._towers, "embed_images", lambda pixels: pytest.fail("encoded again"))
    suite.evaluate(again, list(suite.TASKS), folder)


def test_other_weights_find_nothing_in_the_cache(tiny_clip, tmp_path):
    model = CLIPModel.from_pretrained(tiny_clip)
    load = {"cache_dir": tmp_path / "cache"}
    before = load_encoder(str(tiny_clip), **load).texts(["a"])
    with torch.no_grad():
        model.text_projection.weight += 0.1 * torch.randn_like(model.text_projection.weight)
    model.save_pretrained(tmp_path / "changed")
    for file in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (tmp_path / "changed" / file).write_bytes((tiny_clip / file).read_bytes())
    assert not np.allclose(before, load_encoder(str(tmp_path / "changed"), **load).texts(["a"]))


def test_relations_macro_leaves_symmetric_ones_out(folder, encoder):
    measured = aro.aro(encoder, folder)
    right = measured["VG-Relation", "accuracy_micro"]
    expected = (right[:2].mean() + right[2]) / 2  # "on" twice, "under"; "near" is left out
    assert measured["VG-Relation", "accuracy_macro"].mean() == pytest.approx(expected)
    assert len(measured["VG-Attribution", "accuracy_macro"]) == 25
    assert {"near", "adjusting", "around", "sitting next to"} <= aro.SYMMETRIC
    assert not {"on", "under", "to the left of"} & aro.SYMMETRIC


def test_a_picture_is_cropped_to_its_box(folder, encoder):
    (file,) = pictures(folder, "photos/images/0.png")
    cropped = encoder.pictures([{**file, "box": (5, 5, 35, 45)}])
    inner = Image.open(file["path"]).crop((5, 5, 35, 45))
    pixels = encoder._towers.preprocess(inner)[None]
    with torch.no_grad():
        expected = encoder._towers.embed_images(pixels)[0].numpy()
    np.testing.assert_allclose(cropped[0], expected / np.linalg.norm(expected), atol=1e-5)


def test_choices_are_plain_comparisons(folder, encoder):
    files = pictures(folder, *(f"photos/images/{i}.png" for i in range(5)))
    texts = [[WORDS[i], WORDS[(i + 1) % 5], WORDS[(i + 2) % 5]] for i in range(5)]
    expected = []
    for file, options in zip(files, texts):
        scores = encoder.texts(options) @ encoder.pictures([file])[0]
        expected.append(scores[0] > scores[1] and scores[0] > scores[2])
    assert choices.first_is_best(encoder, files, texts).tolist() == expected
    assert not choices.first_is_best(encoder, files[:1], [["a", "a"]]).any()  # a tie is wrong


def test_macro_is_the_mean_of_means():
    right, groups = np.array([1, 0, 1, 1, 0, 0.0]), list("aabccc")
    assert choices.macro(right, groups).mean() == pytest.approx((1 / 2 + 1 + 1 / 3) / 3)
    assert choices.macro(right, groups, lambda name, size: size > 1).mean() == pytest.approx((1 / 2 + 1 / 3) / 2)
    with pytest.raises(ValueError, match="no group"):
        choices.macro(right, groups, lambda name, size: False)


def test_perturbations_are_the_same_words_in_another_order():
    caption = "Two young men in a red car talk to an old woman"
    made = aro.perturbations(caption)
    assert len(made) == 4 and made == aro.perturbations(caption)
    words = sorted(aro.clean(caption).split())
    assert all(sorted(text.split()) == words and text != aro.clean(caption) for text in made)
    nouns, others = made[0].split(), made[1].split()
    original = aro.clean(caption).split()
    # the first moves nouns and adjectives only, the second everything else
    moved = {word for word, old in zip(nouns, original) if word != old}
    assert moved and moved <= {"men", "car", "woman", "young", "red", "old"}
    kept = {old for word, old in zip(others, original) if word == old}
    assert {"men", "car", "woman", "red", "old", "young"} <= kept
    within = made[2].split()
    assert all(sorted(within[i : i + 3]) == sorted(original[i : i + 3]) for i in range(0, 9, 3))
    assert aro.perturbations("dog") == []


def test_sampled_spearman_is_its_description():
    rng = np.random.default_rng(0)
    pairs, queries = rng.normal(size=(40, 2)), [str(i // 2) for i in range(40)]
    samples = cxc_sts.sampled_spearman(pairs, queries)
    assert samples.shape == (1000,) and len(set(samples)) > 100
    # one pair a query: each sample is a half of the rows, without repeats
    single = cxc_sts.sampled_spearman(pairs[::2], queries[::2])
    rng = np.random.default_rng(0)
    chosen = rng.choice(20, 10, replace=False)
    assert single[0] == pytest.approx(stats.spearmanr(*pairs[::2][chosen].T).statistic)
    with pytest.raises(ValueError, match="at least 4"):
        cxc_sts.sampled_spearman(pairs[:4], ["a"] * 4)


def test_winoground_is_its_description(folder, encoder):
    measured = suite.TASKS["winoground"](encoder, folder)
    rows = [json.loads(line) for line in (folder / "winoground/examples.jsonl").read_text().splitlines()]
    for i, row in enumerate(rows):
        images = encoder.pictures(pictures(folder, *(f"winoground/images/{row[f'image_{n}']}.png" for n in (0, 1))))
        s = images @ encoder.texts([row["caption_0"], row["caption_1"]]).T
        text, image = s[0, 0] > s[0, 1] and s[1, 1] > s[1, 0], s[0, 0] > s[1, 0] and s[1, 1] > s[0, 1]
        assert [measured["Winoground", f"{name}_score"][i] for name in ("text", "image", "group")] == [
            *(text, image, text and image)
        ]


def test_zero_shot_is_its_description(folder, encoder):
    measured = zero_shot.zero_shot(encoder, folder)
    templates = zero_shot.TEMPLATES.read_text().splitlines()
    assert len(templates) == 80
    classes = [np.mean([encoder.texts([t.replace("{}", n)])[0] for t in templates], 0) for n in ("cat", "red dog")]
    classes = np.stack([c / np.linalg.norm(c) for c in classes])
    scores = encoder.pictures(pictures(folder, *(f"photos/images/{i}.png" for i in range(3)))) @ classes.T
    right = [scores[:, 0] > scores[:, 1], scores[:, 1] > scores[:, 0]]
    assert measured["pets", "top1_accuracy"].mean() == pytest.approx(np.mean(right))
    assert measured["pets", "mean_per_class_accuracy"].mean() == pytest.approx(np.mean([r.mean() for r in right]))
    assert zero_shot.ranks_of(np.array([[1.0, 1, 0], [0, 2, 1]]), np.array([0, 1])).tolist() == [
        1,
        0,
    ]  # a tie is wrong


# ---------------------------------------------------------------------------------------------------- other models
def test_dual_encoders(tiny_clip, folder, tmp_path):
    clip = CLIPModel.from_pretrained(tiny_clip)
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        clip.config.vision_config, clip.config.text_config, projection_dim=8
    )
    VisionTextDualEncoderModel(config).save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (tmp_path / file).write_bytes((tiny_clip / file).read_bytes())
    encoder = load_encoder(str(tmp_path), cache_dir=tmp_path)
    assert encoder.has_images
    alone = load_encoder(str(tmp_path), cache_dir=tmp_path / "other").texts([WORDS[0]])
    np.testing.assert_allclose(encoder.texts(WORDS)[0], alone[0], atol=1e-6)  # padding is masked
    assert encoder.pictures(pictures(folder, "photos/images/0.png")).shape == (1, 8)


def test_open_clip_names(folder, monkeypatch, tmp_path):
    """A stand-in for the package, as large as what is used of it."""

    class Model(torch.nn.Linear):
        def encode_text(self, ids):
            return torch.nn.functional.one_hot(ids, 4).sum(dim=1).float() @ self.weight.T

        def encode_image(self, pixels):
            return pixels.mean(dim=(2, 3)) @ self.weight[:, :3].T

    asked = {}

    def create(architecture, pretrained, weights_only):
        asked.update(architecture=architecture, pretrained=pretrained, weights_only=weights_only)
        return Model(4, 6), None, lambda image: torch.from_numpy(np.asarray(image) / 255).permute(2, 0, 1).float()

    module = types.SimpleNamespace(
        create_model_and_transforms=create,
        get_tokenizer=lambda architecture: lambda texts: torch.tensor([[len(text) % 4, 3] for text in texts]),
    )
    with pytest.raises(ValueError, match="pip install open_clip_torch"):
        monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: None)
        load_encoder("openclip:ViT-B-32/laion2b")
    monkeypatch.setitem(encoders.importlib.util.__dict__, "find_spec", lambda name: module)
    monkeypatch.setitem(__import__("sys").modules, "open_clip", module)
    encoder = load_encoder("openclip:ViT-B-32/laion2b", cache_dir=tmp_path)
    assert asked == {"architecture": "ViT-B-32", "pretrained": "laion2b", "weights_only": True}
    assert encoder.name == "openclip:ViT-B-32/laion2b"
    measured, _ = suite.evaluate(encoder, ["sugarcrepe"], folder)
    assert len(measured[0].values) == 5


def test_sentence_encoders_run_text_tasks_only(encoder, folder, monkeypatch):
    monkeypatch.setattr(encoder, "has_images", False)
    measured, not_run = suite.evaluate(encoder, list(suite.TASKS), folder, skip_missing=True)
    assert {m.task for m in measured} == set(suite.TEXT_TASKS)
    assert all("no image tower" in reason for reason in not_run.values())


def test_hub_data_go_the_same_way(encoder, folder, monkeypatch):
    asked = []

    def load_dataset(repo, name=None, split=None, revision=None):
        asked.append((repo, revision, split))
        if "sts" in repo:
            return datasets.Dataset.from_dict(
                {"sentence1": WORDS, "sentence2": WORDS[::-1], "score": [0.0, 1, 2, 3, 4]}
            )
        rows = {
            "images": [str(folder / "photos/images/0.png")] * 2,
            "caption": WORDS[:2],
            "negative_caption": WORDS[2:4],
        }
        return datasets.Dataset.from_dict(rows).cast_column("images", datasets.Image())

    monkeypatch.setattr(data.datasets, "load_dataset", load_dataset)
    measured, _ = suite.evaluate(encoder, ["sts", "sugarcrepe"], None)
    assert {m.dataset for m in measured} == {
        *("STS12", "STS13", "STS14", "STS15", "STS16", "STS-B", "SICK-R", "SugarCrepe")
    }
    assert all(re.fullmatch("[0-9a-f]{40}", revision) for _, revision, _ in asked)


def test_what_the_hub_does_not_give_is_said(encoder, monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("offline")

    monkeypatch.setattr(data.datasets, "load_dataset", refuse)
    measured, not_run = suite.evaluate(encoder, list(suite.TASKS), None, skip_missing=True)
    assert not measured and set(not_run) == set(suite.TASKS)
    with pytest.raises(ValueError, match="--tasks sts: .*offline"):
        suite.evaluate(encoder, ["sts"], None)


def test_card_gets_its_model_index(encoder, folder, tmp_path):
    card = tmp_path / "README.md"
    card.write_text("---\nlicense: mit\n---\n\n# Mine\n")
    measured, _ = suite.evaluate(encoder, ["sts"], folder)
    for _ in range(2):  # a second time changes nothing
        report.add_to_card(card, measured)
        text = card.read_text()
        assert text.endswith("# Mine\n") and "license: mit" in text and text.count("type: spearman") == 1


# -------------------------------------------------------------------------------------------------------- bad input
def replace(file, old, new):
    def spoil(root):
        content = (root / file).read_bytes()
        assert old in content
        (root / file).write_bytes(content.replace(old, new, 1))

    return spoil


def write(file, content):
    return lambda root: (root / file).write_bytes(content)


BOMB = "sugarcrepe/images/0.png"
BAD = {
    "wrong column": ("sugarcrepe", replace("sugarcrepe/swap.tsv", b"negative_caption", b"negative"), "no column neg"),
    "wrong delimiter": ("sugarcrepe", write("sugarcrepe/swap.tsv", b"image,caption\n"), "tabs are needed"),
    "empty text": ("sugarcrepe", replace("sugarcrepe/swap.tsv", b"a red circle", b" "), "line 2: caption is empty"),
    "not UTF-8": ("sugarcrepe", replace("sugarcrepe/swap.tsv", b"red", b"\xff"), "swap.tsv is not UTF-8"),
    "no rows": ("sugarcrepe", write("sugarcrepe/swap.tsv", b"image\tcaption\tnegative_caption\n"), "has no rows"),
    "empty file": ("sugarcrepe", write("sugarcrepe/swap.tsv", b""), "no column image"),
    "missing picture": ("sugarcrepe", lambda root: (root / BOMB).unlink(), "1 of 5 pictures are missing, as 0.png"),
    "truncated picture": (
        "sugarcrepe",
        lambda r: (r / BOMB).write_bytes((r / BOMB).read_bytes()[:-900]),
        "cannot read",
    ),
    "no picture at all": ("sugarcrepe", write(BOMB, b"hello"), "1 bad pictures: cannot read picture .*0.png"),
    "bomb": ("sugarcrepe", lambda root: Image.new("1", (10_000, 10_000)).save(root / BOMB), "decompression bomb"),
    "NaN score": ("sts", replace("sts/STSB-test.tsv", b"\n1\t", b"\nnan\t"), "line 3: score is nan"),
    "no score": ("sts", replace("sts/STSB-test.tsv", b"\n1\t", b"\n\t"), "line 3: score is ''"),
    "constant scores": (
        "sts",
        write("sts/STSB-test.tsv", b"score\tsentence1\tsentence2\n1\ta\tb\n1\tc\td\n"),
        "all ref",
    ),
    "one pair": (
        "sts",
        write("sts/STSB-test.tsv", b"score\tsentence1\tsentence2\n1\ta\tb\n"),
        "at least 2 pairs, got 1",
    ),
    "few queries": (
        "cxc_sts",
        write("cxc/cxc_sts_val.tsv", b"score\tcaption1\tcaption2\n1\ta\tb\n2\ta\tc\n"),
        "at least 4",
    ),
    "not JSON": ("winoground", write("winoground/examples.jsonl", b"{oops\n"), "line 1: is not JSON"),
    "not an object": ("winoground", write("winoground/examples.jsonl", b"[1]\n"), "line 1: a JSON object is needed"),
    "not a text": ("winoground", replace("winoground/examples.jsonl", b'"0"', b"7"), "image_0 is 7, not a text"),
    "empty JSON": ("winoground", write("winoground/examples.jsonl", b""), "no column image_0"),
    "no list": (
        "image_text_retrieval",
        replace("photos/captions.jsonl", b'["a red circle", "two blue stars"]', b'"a"'),
        "list",
    ),
    "empty list": (
        "image_text_retrieval",
        replace("photos/captions.jsonl", b'["nothing here"]', b"[]"),
        "list of texts",
    ),
    "repeated picture": (
        "image_text_retrieval",
        replace("photos/captions.jsonl", b"1.png", b"0.png"),
        "more than once",
    ),
    "no such picture": (
        "paraphrased_retrieval",
        replace("photos/few_triples_val.jsonl", b"1.png", b"9.png"),
        "as 9.png",
    ),
    "no caption": (
        "paraphrased_retrieval",
        replace("photos/few_triples_val.jsonl", b'"caption"', b'"text"'),
        "no column cap",
    ),
    "bad negatives": ("negclip", replace("aro/negclip_x.tsv", b"[", b"{"), "line 2: negatives_json"),
    "numbers for negatives": ("negclip", replace("aro/negclip_x.tsv", b'["two blue stars"]', b"[1]"), "list of texts"),
    "relations not a list": ("aro", write("aro/visual_genome_relation.json", b"{}"), "a list of rows is needed"),
    "relations broken": ("aro", write("aro/visual_genome_relation.json", b"["), "is not JSON"),
    "no box": (
        "aro",
        replace("aro/visual_genome_relation.json", b'"bbox_w": 30', b'"bbox_w": null'),
        "bbox_w is None",
    ),
    "only symmetric": ("aro", lambda root: spoil_relations(root), "no group of items"),
    "empty class": ("zero_shot", lambda root: (root / "zeroshot/pets/empty").mkdir(), "empty has no pictures"),
    "unnamed class": ("zero_shot", write("zeroshot/pets/classes.json", b'{"cat": "cat"}'), "no name for red_dog"),
    "template without place": (
        "zero_shot",
        write("zeroshot/pets/templates.json", b'["a photo"]'),
        "where the class goes",
    ),
}


def spoil_relations(root):
    file = root / "aro/visual_genome_relation.json"
    file.write_text(json.dumps([{**row, "relation_name": "near"} for row in json.loads(file.read_text())]))


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_sentence(case, folder, encoder, tmp_path):
    import shutil

    task, spoil, message = BAD[case]
    root = tmp_path / "data"
    shutil.copytree(folder, root)
    spoil(root)
    with pytest.raises(ValueError, match=message) as refused:
        suite.evaluate(encoder, [task], root, skip_missing=True)
    assert str(root) in str(refused.value) or "CxC" in str(refused.value)


def test_an_empty_text_cannot_be_encoded(encoder):
    with pytest.raises(ValueError, match="empty text"):
        encoder.texts(["a", " "])


def test_hub_data_loads_with_the_real_client(tmp_path, tiny_clip):
    """A process of its own, as the endpoint is read at import."""
    pairs = {"sentence1": WORDS, "sentence2": WORDS[::-1], "score": [0.0, 1.0, 5.0, 2.0, 3.0]}
    datasets.Dataset.from_dict(pairs).to_parquet(tmp_path / "test.parquet")
    with HubDouble() as hub:
        hub.repos["mteb/stsbenchmark-sts"] = {
            "test.parquet": (tmp_path / "test.parquet").read_bytes(),
        }
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
                       "HF_HOME": str(tmp_path / "home")}  # fmt: skip
        arguments = ["--models", str(tiny_clip), "--tasks", "sts", "--output", str(tmp_path / "results.json")]
        done = subprocess.run(
            [sys.executable, "-m", "eval", *arguments], env=environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    (found,) = [r for r in json.loads((tmp_path / "results.json").read_text()) if r["metric"] == "spearman"]
    assert (found["dataset"], found["n"]) == ("STS-B", 5)
    assert "STS12 is not measured: mteb/sts12-sts cannot be loaded" in done.stderr  # said, and the run goes on


def test_a_sweep_between_two_models(folder, tiny_clip, tmp_path, capsys):
    tuned = CLIPModel.from_pretrained(tiny_clip)
    tuned.text_projection.weight.data += torch.randn_like(tuned.text_projection.weight)
    tuned.save_pretrained(tmp_path / "tuned")
    AutoProcessor.from_pretrained(tiny_clip).save_pretrained(tmp_path / "tuned")
    command = ["--tasks", "sts", "--data", str(folder), "--cache_dir", str(tmp_path / "cache")]
    command += ["--output", str(tmp_path / "results.json"), "--interpolate", "0,1"]
    cli.main(["--models", str(tiny_clip), str(tmp_path / "tuned"), *command])
    by_model = {}
    for entry in json.loads((tmp_path / "results.json").read_text()):
        by_model.setdefault(entry["model"], []).append(entry["value"])
    base, at_0, at_1, end = by_model.values()
    assert list(by_model)[1:] == ["tuned@0", "tuned@1", "tuned"]
    assert base == at_0 != at_1 == end
    with pytest.raises(SystemExit):
        cli.main(["--models", str(tiny_clip), *command])
    assert "takes two --models" in capsys.readouterr().err
