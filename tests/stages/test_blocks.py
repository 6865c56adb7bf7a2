"""group_blocks and unique_names: blocks by the names of layers."""

import itertools

from kerasft.stages.blocks import group_blocks, unique_names


def test_blocks_follow_numbers_in_names():
    names = [["conv2d"], ["bn"], ["block_1_expand"], ["block_1_bn"], ["block_1_out", "block_1_in"], ["top"]]
    kernels = [1, 0, 1, 0, 2, 1]
    blocks = group_blocks(names, kernels)
    assert [name for name, _ in blocks] == ["conv2d", "block_1", "top"]
    assert list(itertools.chain(*(span for _, span in blocks))) == list(range(6))


def test_a_unit_shows_how_deep_numbers_nest():
    names = [["stage_0_block_0"], ["stage_0_block_1"]]
    assert [name for name, _ in group_blocks(names, [4, 4])] == ["stage_0"]
    assert [name for name, _ in group_blocks(names, [4, 4], [True, True])] == [
        "stage_0_block_0",
        "stage_0_block_1",
    ]


def test_unique_names():
    assert unique_names(["a", "b", "a"]) == ["a", "b", "a_2"]
    assert unique_names(["a", "a", "a_2"]) == ["a", "a_3", "a_2"]  # a name of its own stays
