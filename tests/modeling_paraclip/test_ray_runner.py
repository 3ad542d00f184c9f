import sys

import numpy as np
import pytest

from modeling_paraclip import add_image_embeds
from tests.modeling_paraclip.test_image_embeds import dataset_of


def test_on_ray_it_is_the_same(model, image_processor, pictures, tmp_path, caplog):
    pytest.importorskip("ray", reason="ray is an extra: pip install paraclip[ray]")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    dataset = dataset_of([*pictures, bad, pictures[0]])
    options = {"skip_bad_images": True, "batch_size": 2}
    local = add_image_embeds(dataset, model, image_processor, cache_dir=tmp_path / "local", **options)
    for _ in range(2):  # and from the cache
        on_ray = add_image_embeds(dataset, model, image_processor, cache_dir=tmp_path / "ray", runner="ray", **options)
        assert on_ray["image_id"] == local["image_id"] == ["a.png", "b.png", "c.png", "a.png"]
        np.testing.assert_allclose(np.array(on_ray["image_embeds"]), np.array(local["image_embeds"]), atol=1e-3)
    assert "1 bad pictures, 1 rows left out" in caplog.text


def test_ray_that_is_not_there_is_named(model, image_processor, pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"Ray is not installed: pip install"):
        add_image_embeds(dataset_of(pictures), model, image_processor, cache_dir=tmp_path, runner="ray")
