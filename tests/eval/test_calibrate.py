import datasets
import numpy as np
import pytest

from eval import __main__ as cli
from eval.calibrate import _auc, _best_threshold, calibrate
from eval.tasks.paraphrased_retrieval import triples_in


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def embeds(n, pictures, noise, seed=0):
    rng = np.random.default_rng(seed)
    gallery = unit(rng.normal(size=(pictures, 32))).astype(np.float32)
    picture = np.arange(n) % pictures
    texts = unit(gallery[picture, None] + noise * rng.normal(size=(n, 3, 32))).astype(np.float32)
    return texts, gallery, picture, list(map(str, range(n)))


def test_texts_that_lie_at_their_pictures_are_told_apart_from_others():
    found = calibrate(*embeds(60, 30, 0.01))
    assert (found.precision, found.recall, found.f1, found.auc, found.flips) == (1, 1, 1, 1, 0)
    assert 0.7 < found.threshold < 1
    assert found.queries == 2 * 3 * 30  # two indices, three wordings, half of the 60 triples


def test_noise_costs_all_of_it():
    good, bad = (calibrate(*embeds(400, 100, noise)) for noise in (0.1, 0.6))
    assert bad.auc < good.auc
    assert bad.flips > good.flips
    assert 0.5 < bad.f1 < good.f1


def test_the_threshold_is_the_best_of_all():
    rng = np.random.default_rng(1)
    for _ in range(20):
        scores, present = rng.integers(0, 6, 15) / 5, rng.random(15) < 0.5
        if not present.any():
            continue

        def f1(threshold, scores=scores, present=present):
            answered = scores >= threshold
            return 2 * (answered & present).sum() / max(answered.sum() + present.sum(), 1)

        assert f1(_best_threshold(scores, present)) == max(map(f1, scores))
        pairs = [(a > b) + 0.5 * (a == b) for a in scores[present] for b in scores[~present]]
        assert _auc(scores, present) == pytest.approx(np.mean(pairs)) if pairs else np.isnan(_auc(scores, present))


def test_a_wish_that_found_several_pictures_has_each_of_them():
    """As in a log: a hundred people ask for the same, and each takes another picture."""
    texts, gallery, picture, captions = embeds(60, 30, 0.01)
    everyone = np.repeat(texts[:1], 60, axis=0)
    found = calibrate(everyone, gallery, picture, ["sunset", "sundown", "dusk", "evening"] * 15)
    assert (found.precision, found.recall, found.flips) == (1, 1, 0)  # either half has a sunset
    assert np.isnan(found.auc)  # no query without one
    assert calibrate(everyone, gallery, picture, captions).precision == 0.5  # sixty wishes


def test_no_wish_is_both_chosen_and_measured_on():
    """Every other wish is far from its picture, which lowers no threshold: it is chosen on the others."""
    texts, gallery, picture, _ = embeds(80, 40, 0.01)
    captions = [f"{number:02}" for number in range(40)] * 2
    texts[1::2] = unit(np.random.default_rng(1).normal(size=(1, 1, 32)))
    found = calibrate(texts, gallery, picture, captions)
    assert found.threshold > 0.7 and found.recall == 0 and found.queries == 2 * 3 * 40


def test_too_few_wishes_are_refused():
    texts, gallery, picture, _ = embeds(6, 6, 0.1)
    with pytest.raises(ValueError, match="at least 4 different captions, here are 3"):
        calibrate(texts, gallery, picture, ["a", "b", "c"] * 2)


def test_the_command_compares_models(folder, tiny_clip, tmp_path, capsys):
    command = ["calibrate", "--models", str(tiny_clip), "--cache_dir", str(tmp_path)]
    cli.main([*command, "--data", str(folder)])
    out = capsys.readouterr().out
    assert "photos few_triples_val: " in out
    assert tiny_clip.name in out
    with pytest.raises(SystemExit, match=r"eval calibrate: .*triples_val\.jsonl"):
        cli.main([*command, "--data", str(tiny_clip)])


@pytest.fixture
def own_index(eval_set, tmp_path):
    """A data set with a split for validation, and a larger index of vectors without texts."""
    (tmp_path / "own").mkdir()
    eval_set.to_parquet(tmp_path / "own" / "validation.parquet")
    more = eval_set.select_columns(["image_id", "image_embeds"]).map(lambda row: {"image_id": f"x{row['image_id']}"})
    both = datasets.concatenate_datasets([eval_set.select_columns(["image_id", "image_embeds"]), more])
    both.to_json(tmp_path / "index.jsonl")
    return tmp_path


def test_vectors_are_enough(own_index, tiny_clip, capsys):
    command = ["calibrate", "--models", str(tiny_clip), "--cache_dir", str(own_index)]
    tables = []
    for triples in ("own", "own/validation.parquet"):
        cli.main([*command, "--triples", str(own_index / triples)])
        tables.append(capsys.readouterr().out.partition(": ")[2])
    assert tables[0] == tables[1]
    assert "against half of 12 pictures" in tables[0]
    cli.main([*command, "--triples", str(own_index / "own"), "--index", str(own_index / "index.jsonl")])
    assert "against half of 24 pictures" in capsys.readouterr().out


def test_vectors_give_what_their_pictures_give(folder, encoder, tiny_clip, tmp_path, capsys):
    ((_, _, gallery, _),) = triples_in(folder)
    vectors = {"image_id": list(gallery), "image_embeds": encoder.pictures(list(gallery.values()))}
    datasets.Dataset.from_dict(vectors).to_parquet(tmp_path / "index.parquet")
    triples = folder / "photos" / "few_triples_val.jsonl"
    tables = []
    for queries in (["--data", folder], ["--triples", triples, "--index", tmp_path / "index.parquet"]):
        cli.main(["calibrate", "--models", str(tiny_clip), "--cache_dir", str(tmp_path), *map(str, queries)])
        tables.append(capsys.readouterr().out.partition(": ")[2])
    assert tables[0] == tables[1]


def test_what_cannot_be_calibrated_is_refused_in_one_sentence(own_index, tiny_clip, eval_set, capsys):
    command = ["calibrate", "--models", str(tiny_clip), "--cache_dir", str(own_index)]
    few, wide = own_index / "few.parquet", own_index / "wide.parquet"
    eval_set.select(range(6)).to_parquet(few)
    eval_set.map(lambda row: {"image_embeds": row["image_embeds"] * 2}).to_parquet(wide)
    for index, message in ((few, r"lacks 9 image_id of .*own, e\.g\. 10\.png"), (wide, "8 numbers, but .* have 16")):
        with pytest.raises(SystemExit, match=f"eval calibrate: .*{message}"):
            cli.main([*command, "--triples", str(own_index / "own"), "--index", str(index)])
    with pytest.raises(SystemExit):
        cli.main([*command, "--data", str(own_index), "--index", str(few)])
    assert "--index: goes with --triples" in capsys.readouterr().err
