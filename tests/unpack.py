"""What a packed chunk holds."""

from modeling_paraclip.packing import Chunk


def unpack(chunk: Chunk) -> list[list[int]]:
    """The texts of a chunk, in its order, read from its nodes."""
    ids = chunk["input_ids"][chunk["node_of_token"]]
    return [text.tolist() for text in ids.split([length for length, n in chunk["buckets"] for _ in range(n)])]
