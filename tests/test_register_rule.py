"""register_rule and explain: operations and modules of one's own, and what a rule says."""

import pytest
import torch
from torch import nn

from flops_tracker import FlopCounter, explain, register_rule


@pytest.fixture(scope="module")
def scan():
    library = torch.library.Library("flops_tracker_rules", "FRAGMENT")
    for name in ("scan", "other", "third", "fourth", "fifth", "sixth"):
        library.define(f"{name}(Tensor x, Tensor y, *, int k=1) -> Tensor")
        library.impl(name, lambda x, y, k=1: x * y, "CPU")
    yield torch.ops.flops_tracker_rules
    library._destroy()


def products(args, kwargs, output):
    x, _ = args
    return {"mac": 3 * x.numel(), "special": output.numel() * kwargs.get("k", 1)}


def test_a_rule_for_an_operation(scan):
    register_rule("flops_tracker_rules::scan", products)
    with FlopCounter() as c:
        scan.scan(torch.ones(2, 5), torch.ones(5), k=7)
    # 3·10 products and 7·10 special: 60 + 70; a cost with products is a contraction.
    assert (c.total, c.under("matmul").total) == (130, 60)
    assert c.uncounted == {}


def test_a_rule_that_comes_after_the_first_call(scan):
    with FlopCounter() as c:
        scan.other(torch.ones(4), torch.ones(4))
    assert list(c.uncounted) == ["flops_tracker_rules.other.default"]
    register_rule("flops_tracker_rules.other", lambda args, kwargs, output: output.numel())
    with FlopCounter() as c:
        scan.other(torch.ones(4), torch.ones(4))
    assert (c.total, c.under("matmul").total, c.uncounted) == (4, 0, {})


def test_a_second_rule_needs_override(scan):
    rule = lambda args, kwargs, output: 1  # noqa: E731
    register_rule(scan.third, rule)
    with pytest.raises(ValueError, match=r"third.*override=True"):
        register_rule("flops_tracker_rules::third", rule)
    with pytest.raises(ValueError, match=r"aten::mm.*override=True"):
        register_rule("aten::mm", rule)
    with pytest.raises(ValueError, match=r"aten\.mm\.default.*override=True"):
        register_rule("aten.mm.default", rule)
    with pytest.raises(ValueError, match=r"third.*default.*override=True"):
        register_rule(scan.third.default, rule)
    register_rule(scan.third.default, lambda args, kwargs, output: 5, override=True)
    with FlopCounter() as c:
        scan.third(torch.ones(4), torch.ones(4))
    assert c.total == 5


def test_a_rule_for_an_overload_stands_in_the_way_of_one_for_all(scan):
    register_rule(scan.fourth.default, lambda args, kwargs, output: 1)
    with pytest.raises(ValueError, match=r"fourth.*override=True"):
        register_rule(scan.fourth, lambda args, kwargs, output: 2)


def test_what_a_rule_raises_says_whose_it_is(scan):
    def missing(args, kwargs, output):
        return {}["a"]

    register_rule("flops_tracker_rules::fifth", missing)
    with pytest.raises(KeyError) as caught, FlopCounter():
        scan.fifth(torch.ones(2), torch.ones(2))
    assert caught.value.__notes__ == ["in the rule of flops_tracker_rules.fifth.default"]


def test_what_takes_other_arguments_is_no_rule(scan):
    with pytest.raises(TypeError, match=r"fn is called as fn\(args, kwargs, output\)"):
        register_rule("flops_tracker_rules::sixth", lambda output: 1)
    with pytest.raises(TypeError, match=r"fn is called as fn\(module, args, kwargs, output\)"):
        register_rule(nn.Bilinear, lambda module, output: 1)


@pytest.mark.parametrize(
    ("result", "error", "words"),
    [
        (1.5, TypeError, "must be an integer, not 1.5"),
        (-1, ValueError, "must be 0 or more"),
        ({"mac": 0.5}, TypeError, "mac must be an integer"),
        (None, TypeError, "must be an integer, not None"),
        (
            {"mac": 1, "macs": 3},
            ValueError,
            r"rule of .* gave .*'macs': 3.*the kinds of a cost are mac, dot",
        ),
    ],
)
def test_what_a_rule_must_return(scan, result, error, words):
    register_rule("flops_tracker_rules::scan", lambda *_: result, override=True)
    with pytest.raises(error, match=words), FlopCounter():
        scan.scan(torch.ones(2), torch.ones(2))

    class Ruled(nn.Module):
        def forward(self, x):
            return x * 2

    register_rule(Ruled, lambda *_: result)
    with pytest.raises(error, match=words), FlopCounter():
        Ruled()(torch.ones(2))


def test_a_rule_of_modules_sees_arguments_by_name():
    class Named(nn.Module):
        def forward(self, x, *, scale):
            return x * scale

    seen = []
    register_rule(Named, lambda *call: seen.append(call) or 3)
    model, x = Named(), torch.ones(2)
    with FlopCounter() as c:
        y = model(x, scale=2)
    assert c.total == 3
    ((module, args, kwargs, output),) = seen
    assert module is model
    assert args[0] is x
    assert kwargs == {"scale": 2}
    assert output is y


def test_bad_arguments():
    with pytest.raises(TypeError, match="fn must be callable"):
        register_rule("a::b", 3)
    with pytest.raises(ValueError, match=r"no operation 'mylib\.gem'.*has been imported"):
        register_rule("mylib.gem", max)
    with pytest.raises(ValueError, match=r"no operation 'aten::mm\.no'"):
        register_rule("aten::mm.no", max)
    with pytest.raises(TypeError, match="class of modules or an operation, not <class 'int'>"):
        register_rule(int, max)
    with pytest.raises(ValueError, match="such as 'mylib::scan'"):
        register_rule("scan", max)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4, bias=False)

    def forward(self, x):
        return self.inner(x)


def test_a_rule_for_a_class_of_modules():
    register_rule(Block, lambda module, args, kwargs, output: {"mac": 1000})

    class Sub(Block):
        pass

    model = nn.Sequential(Block(), Sub(), nn.Linear(4, 4, bias=False))
    with FlopCounter(model) as c:
        model(torch.ones(3, 4)).sum().backward()
    modules = c.under("macs").by_module()
    # Forward of both blocks by the rule; backward as it ran: 3·4·4 to the weight, and to the
    # input where there is one to differentiate.
    assert modules["Sequential.0"].own == modules["Sequential.1"].own == 1000
    assert modules["Sequential.0.inner"].own == 48
    assert modules["Sequential.1.inner"].own == 96
    assert modules["Sequential.2"].own == 48 + 96
    assert c.by_op()["Block"] == 4000


# ---- explain ----


def test_explain_puts_the_numbers_in():
    # (4,5) times (5,6): 24 results of 5 products.
    text = explain("aten.mm", (4, 5), (5, 6))
    assert "output = (4, 6)" in text
    assert "mac 120, dot 24" in text
    assert "standard 240 · exact 216 · matmul 240 · macs 120" in text
    assert (
        explain("aten::mm", (4, 5), (5, 6))
        == text
        == explain(torch.ops.aten.mm.default, (4, 5), (5, 6))
    )


def test_explain_takes_names_and_defaults():
    # 2·(4,5)(5,6) + b: 24 biases and 24 scalings more.
    text = explain("aten.addmm", (6,), (4, 5), mat2=(5, 6), alpha=2)
    assert "mac 120, dot 24, bias 24, arith 24" in text


def test_explain_asks_questions_in_words():
    text = explain("aten.addmm", (6,), (4, 5), (5, 6), alpha=2)
    assert "beta other than 0: yes, alpha other than 1: yes, beta other than 1: no" in text
    assert "step" not in explain("aten.add.Tensor", (3,), (3,)).splitlines()[2]
    assert "alpha other than 1: yes" in explain("aten.add_.Tensor", (3,), (3,), alpha=2)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("aten.nothing",), ValueError, "no operation 'aten.nothing'"),
        (("addmm",), ValueError, r"no operation 'addmm'.*; did you mean 'aten\.addmm'\?"),
        (("torch.addmm",), ValueError, r"; did you mean 'aten\.addmm'\?"),
        (("aten.adddmm",), ValueError, r"; did you mean 'aten\.addmm'\?"),
        ((5,), TypeError, "op must be an operation of torch.ops or its name, .* not 5;"),
        ((nn.Linear, (4, 5)), TypeError, r"not the class Linear; rules\('Linear'\) has the rules"),
        (("aten.zzz",), ValueError, "no operation 'aten.zzz' in this PyTorch$"),
        (("aten.embedding", (10, 5), (4, 3)), RuntimeError, "indices"),
        (("aten.add.Nothing", (1,), (1,)), ValueError, "no overload 'Nothing'"),
        (("aten.mm", (1, 1)), TypeError, "needs 'mat2'"),
        (("aten.mm", (1, 1), (1, 1), (1, 1)), TypeError, "takes 2 arguments, not 3"),
        (("aten.mm", (1, 2), (3, 4)), RuntimeError, "reduction dim"),
    ],
)
def test_explain_says_what_is_wrong(arguments, error, words):
    with pytest.raises(error, match=words):
        explain(*arguments)


def test_explain_of_an_unknown_operation(scan):
    library = torch.library.Library("flops_tracker_unknown", "FRAGMENT")
    library.define("op(Tensor x) -> Tensor")
    library.impl("op", lambda x: x.clone(), "Meta")
    assert "register_rule(" in explain("flops_tracker_unknown::op", (3,))
    library._destroy()
