"""Pieces of a model between its cuts, and the blocks that they make."""

import keras

from kerasft.stages.pieces import merge_blocks, pieces_of


def test_pieces_lie_between_cuts_and_know_where_they_come_from(image_model):
    pieces = pieces_of(image_model)
    assert [[layer.name for layer in piece.layers] for piece in pieces] == [
        ["stem_conv"],
        ["stem_bn"],
        ["block_1_a_conv", "block_1_a_bn", "block_1_b_conv"],
        ["block_2_a_conv", "block_2_a_bn", "block_2_b_conv"],
        ["logits"],
    ]
    assert [piece.nested for piece in pieces] == [True] * 4 + [False]
    assert not any(piece.whole for piece in pieces)
    assert pieces[3].output_shape == (None, 4)  # pooled
    names = [(name, len(block)) for name, block in merge_blocks(pieces[:4])]
    assert names == [("stem", 2), ("block_1", 1), ("block_2", 1)]


def test_only_models_with_known_calls_have_pieces():
    assert pieces_of(keras.layers.Dense(1)) is None
