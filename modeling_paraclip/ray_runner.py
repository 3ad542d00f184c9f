"""`embed_pictures` on many machines: Ray Data gives batches of pictures to actors, each with a tower of its own.

The pictures have to be on a file system that all machines see. What an actor has embedded is in the cache as soon as
it comes back, so a run that is killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from .embedding_cache import EmbeddingCache
from .errors import InputError
from .pictures import Decoder, read_file


def embed_pictures_on_ray(
    pictures: Sequence[dict],
    preprocess: Callable[[Image.Image], Tensor],
    embed: Callable[[Tensor], Tensor],
    cache: EmbeddingCache,
    *,
    batch_size: int = 64,
    read: Callable[[str], bytes] = read_file,
) -> tuple[list[str], dict[str, str]]:
    """As `embedding_cache.embed_pictures`: the same arguments, the same result, the same cache.

    One actor per GPU of the cluster where this machine has a GPU, else one per core.

    Raises:
        InputError: Ray is not installed.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise InputError("Ray is not installed: pip install 'paraclip[ray]'") from error
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks, context.enable_progress_bars = 0, False
    kind = "GPU" if torch.cuda.is_available() else "CPU"
    blocks = -(-len(pictures) // batch_size)
    if not ray.is_initialized():
        # Ray's ports listen on every interface. Its token, kept in the home folder, guards them: leave it on.
        ray.init(log_to_driver=False)
    actors = min(blocks, int(ray.cluster_resources().get(kind, 1)))
    embedded = ray.data.range(len(pictures), override_num_blocks=blocks).map_batches(
        _Embedder,
        batch_size=batch_size,
        fn_constructor_args=(pictures, preprocess, embed, frozenset(cache.known()), read),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
        **{"num_gpus": 1} if kind == "GPU" else {"num_cpus": 1},
    )
    digests, problems = [""] * len(pictures), {}
    with tqdm(total=len(pictures), desc="Embedding pictures", leave=False) as progress:
        for batch in embedded.iter_batches(batch_size=None):
            new = batch["new"]
            if new.any():
                names = batch["digest"][new].tolist()
                cache.put(names, np.stack(batch["embed"][new]), names)
            for i, digest, problem in zip(batch["id"], batch["digest"], batch["problem"]):
                digests[i] = str(digest)
                if problem:
                    problems[digests[i]] = str(problem)
            progress.update(len(batch["id"]))
    return digests, problems


class _Embedder:
    """An actor: it is opened once, then given batches of indices of pictures."""

    def __init__(
        self, pictures: Sequence[dict], preprocess: Callable, embed: Callable, known: frozenset[str], read: Callable
    ):
        self._decoder, self._embed = Decoder(pictures, preprocess, known, read), embed

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        digests, pixel_values, problems = zip(*(self._decoder[int(i)] for i in batch["id"]))
        new = np.array([pixels is not None for pixels in pixel_values])
        embeds = np.zeros((len(new), 1), np.float32)
        if new.any():
            with torch.inference_mode():
                found = self._embed(torch.stack([p for p in pixel_values if p is not None])).float().cpu().numpy()
            embeds = np.zeros((len(new), found.shape[1]), np.float32)
            embeds[new] = found
        return {
            "id": batch["id"],
            "digest": np.array(digests),
            "problem": np.array(problems),
            "new": new,
            "embed": embeds,
        }
