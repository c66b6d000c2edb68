"""Seed 003's code blocks as they stand, and what they print.

Repairs, and nothing else: import lines; a Block of our own for timm's. ``resnet``, ``x`` and the
model of the last block are the seed's names for what its files make.
"""

import re

import models
import pytest
import torch
from torch import nn

from flops_tracker.compat.torch_flops import TorchFLOPsByFX

THREE_LINES = """\
flops_counter = TorchFLOPsByFX(resnet)
flops_counter.propagate(x)
total_flops = flops_counter.print_total_flops(show=True)
"""

ATTENTION = """\
C = 768

# Define the model: an attention block (refer to "timm": https://github.com/huggingface/pytorch-image-models/blob/main/timm/models/vision_transformer.py)
block = Block(C, num_heads=2, qkv_bias=True)
block.attn.fused_attn = False
block.eval()
model = block

# Input
# N: number of tokens
N = 14**2 + 1
B = 1
x = torch.randn([B, N, C])

# Output
# Build the graph of the model. You can specify the operations (listed in `MODULE_FLOPs_MAPPING`, `FUNCTION_FLOPs_MAPPING` and `METHOD_FLOPs_MAPPING` in 'flops_ops.py') to ignore.
flops_counter = TorchFLOPsByFX(model)
# Print the grath (not essential)
print('*' * 120)
flops_counter.graph_model.graph.print_tabular()
# Feed the input tensor
flops_counter.propagate(x)
# Print the FLOPs of each node in the graph. Note that if there are unsupported operations, the "flops" of these ops will be marked as 'not recognized'.
print('*' * 120)
flops_counter.print_result_table()
# Print the total FLOPs
total_flops = flops_counter.print_total_flops()
"""  # noqa: E501


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads, self.fused_attn = heads, True
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width)
        self.attn_drop, self.proj_drop = nn.Dropout(0.0), nn.Dropout(0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        head = width // self.heads
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, head).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.fused_attn:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            scores = (q * head**-0.5) @ k.transpose(-2, -1)
            mixed = self.attn_drop(scores.softmax(dim=-1)) @ v
        return self.proj_drop(self.proj(mixed.transpose(1, 2).reshape(batch, length, width)))


class Block(nn.Module):
    def __init__(self, width: int, num_heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), Attention(width, num_heads, qkv_bias)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SimpleModel(nn.Module):
    def __init__(self, add_one: bool) -> None:
        super().__init__()
        self.layer, self.add_one = nn.Linear(5, 4), add_one

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x)
        if self.add_one:
            x += 1.0
        return x


def run(block: str, **names: object) -> dict[str, object]:
    names |= {"torch": torch, "TorchFLOPsByFX": TorchFLOPsByFX}
    exec(compile(block, "seed 003", "exec"), names)
    return names


def test_resnet50(capsys):
    # The seed prints 8,227,340,288. That tool takes a window of max_pool2d, 3x3 with 8 comparisons
    # for each of 64·56·56 = 200,704 outputs, as one of 3 with 2 of them: 6·200,704 less. ViT-B/16,
    # whose 35,164,979,282 leave out more, is in test_accuracy.py.
    with pytest.warns(UserWarning, match="torch.fx can't trace ResNetForImageClassification"):
        names = run(THREE_LINES, resnet=models.resnet50(), x=torch.randn(1, 3, 224, 224))
    assert names["total_flops"] == 8_227_340_288 + 6 * 200_704
    assert capsys.readouterr().out == "total_flops = 8,228,544,512\n"


def test_an_attention_block(capsys):
    names = run(ATTENTION, Block=Block)
    # With a bias an output of Linear is k products, k - 1 sums and the bias: 2·k. 197 tokens of
    # 768·2304, 768·768, 768·3072 and 3072·768; two heads of 384.
    linear = 197 * 2 * (768 * 2304 + 768 * 768 + 2 * 768 * 3072)
    tokens, scores = 197 * 768, 2 * 197 * 197
    attention = scores * (2 * 384 - 1) + tokens * (2 * 197 - 1)
    softmax, scaling, residuals = 5 * scores, tokens, 2 * tokens  # softmax: a maximum, 3, exp
    norms, gelu = 2 * 7 * tokens, 5 * 4 * tokens
    total = linear + attention + softmax + scaling + residuals + norms + gelu
    assert total == names["total_flops"] == 2_913_666_248
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "*" * 120 and printed.count("*" * 120) == 2
    assert printed[1].split()[:3] == ["opcode", "name", "target"]
    table = printed[printed.index("*" * 120, 1) + 1 :]
    assert table[0].split()[:5] == COLUMNS
    rows = {line.split()[0]: line.split() for line in table[1:-1]}
    assert rows["attn_qkv"][1:5] == ["call_module", "attn.qkv", "Linear", f"{697_171_968:,}"]
    assert rows["mlp_1"][1:5] == ["call_module", "mlp.1", "GELU", f"{gelu:,}"]
    assert table[-1] == "total_flops = 2,913,666,248"


COLUMNS = ["node_name", "node_op", "op_target", "nn_module_stack[-1]", "flops"]

# The rows of the two tables that the seed prints.
LAYER_ONLY = """\
x            placeholder  x                                         0
layer        call_module  layer        Linear                      40
output       output       output                                    0
"""
WITH_ADDITION = """\
x            placeholder    x                                                     0
layer        call_module    layer                    Linear                      40
add          call_function  <built-in function add>                               4
output       output         output                                                0
"""


def cells(line: str) -> list[str]:
    return re.split(r" {2,}", line.strip())


@pytest.mark.parametrize(("add_one", "table"), [(False, LAYER_ONLY), (True, WITH_ADDITION)])
def test_the_comparison(add_one, table):
    flops_counter = TorchFLOPsByFX(SimpleModel(add_one).eval())
    flops_counter.propagate(torch.randn(1, 5))
    rows = flops_counter.print_result_table(show=False)
    shown = [[str(cell) for cell in row[:5] if cell != ""] for row in rows]
    expected = [cells(line) for line in table.splitlines()]
    assert shown == expected
    total_flops = flops_counter.print_total_flops(show=False)
    assert f"torch_flops: {total_flops} FLOPs" == f"torch_flops: {44 if add_one else 40} FLOPs"
