import json

import numpy as np
import pytest
from scipy import stats

from eval.tasks import cxc_sts
from modeling_paraclip import InputError
from tests.eval.samples import WORDS, replace, write


def test_sampled_spearman_is_its_description():
    rng = np.random.default_rng(0)
    (cosines, ratings), queries = rng.normal(size=(2, 40)), [str(i // 2) for i in range(40)]
    samples = cxc_sts.sampled_spearman(cosines, ratings, queries)
    assert samples.shape == (1000,)
    assert len(set(samples)) > 100
    # one pair a query: each sample is a half of the rows, without repeats
    single = cxc_sts.sampled_spearman(cosines[::2], ratings[::2], queries[::2])
    rng = np.random.default_rng(0)
    chosen = rng.choice(20, 10, replace=False)
    assert single[0] == pytest.approx(stats.spearmanr(cosines[::2][chosen], ratings[::2][chosen]).statistic)
    with pytest.raises(ValueError, match="at least 4"):
        cxc_sts.sampled_spearman(cosines[:4], ratings[:4], ["a"] * 4)
    assert np.isnan(cxc_sts.sampled_spearman(np.ones(40), ratings, queries)).all()  # a collapsed model


@pytest.fixture
def published(folder, tmp_path):
    """The pairs of `folder` as the authors publish them: numbers of captions, and Karpathy's captions."""
    (tmp_path / "cxc").mkdir()
    (tmp_path / "coco").mkdir()
    pairs = [f"COCO_val2014:sentid:{i},COCO_val2014:sentid:{i + 1},{i}.0,c2c_isim\n" for i in range(4)]
    (tmp_path / "cxc/sts_val.csv").write_text("caption1,caption2,agg_score,sampling_method\n" + "".join(pairs))
    sentences = [{"sentid": i, "raw": word, "tokens": word.split()} for i, word in enumerate(WORDS)]
    images = [{"split": "val", "filename": "1.jpg", "filepath": "val2014", "sentences": sentences}]
    (tmp_path / "coco/dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    return tmp_path


def test_the_authors_files_give_the_same(folder, published, encoder):
    joined, found = cxc_sts.cxc_sts(encoder, folder), cxc_sts.cxc_sts(encoder, published)
    assert joined.keys() == found.keys()
    for key, scored in found.items():
        assert scored.values.tolist() == joined[key].values.tolist()
        assert scored.about.source == "cxc/sts_val.csv, coco/dataset_coco.json"
        assert scored.about.share == (4, 44_009)
    sampled = found["CxC-STS val", "spearman_sampled"]
    assert sampled.queries == 4
    assert joined["CxC-STS val", "spearman"].value == pytest.approx(
        stats.spearmanr(joined["CxC-STS val", "spearman"].values, range(4)).statistic
    )


def test_captions_that_are_not_there_are_said(published, encoder):
    replace("cxc/sts_val.csv", b"sentid:4,", b"sentid:9,")(published)
    with pytest.raises(InputError, match=r"sts_val\.csv, line 5: .*dataset_coco\.json has no caption 9"):
        cxc_sts.cxc_sts(encoder, published)
    (published / "cxc/cxc_sts_val.tsv").write_text("score\tcaption1\tcaption2\n")
    with pytest.raises(InputError, match="are both there"):
        cxc_sts.cxc_sts(encoder, published)
    (published / "cxc/cxc_sts_val.tsv").unlink()
    (published / "coco/dataset_coco.json").unlink()
    with pytest.raises(InputError, match=r"put Karpathy's dataset_coco\.json into a folder of DIR"):
        cxc_sts.cxc_sts(encoder, published)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            write("cxc/cxc_sts_val.tsv", b"score\tcaption1\tcaption2\n1\ta\tb\n2\ta\tc\n"),
            "at least 4",
            id="few queries",
        ),
    ],
)
def test_bad_input_is_one_clear_sentence(spoil, message, refused):
    refused("cxc_sts", spoil, message)
