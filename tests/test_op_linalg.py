"""Linear algebra and Fourier transforms: textbook algorithms counted step by step, and by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flops_tracker import FlopCounter

aten = torch.ops.aten


def cost(run, op_class="linalg"):
    with FlopCounter() as counter:
        run()
    total = {}
    for row in counter.rows:
        if row.op_class == op_class:
            for kind, count in row.cost.items():
                total[kind] = total.get(kind, 0) + count
    return {kind: count for kind, count in total.items() if count and kind != "bytes"}


def without_zeros(**kinds):
    return {kind: count for kind, count in kinds.items() if count}


def matrix(*shape):
    """A well-conditioned one, symmetric where it is square."""
    x = torch.zeros(*shape, dtype=torch.float64)
    if x.numel():
        x.diagonal(dim1=-2, dim2=-1).fill_(2.0)
    return x


few = settings(max_examples=40, deadline=None, derandomize=True)
sizes = st.integers(0, 6)


# ---- algorithms that end, loop by loop ----


@few
@given(n=sizes, batch=st.integers(0, 2))
def test_cholesky(n, batch):
    mac = divisions = roots = 0
    for j in range(n):
        mac += sum(1 for _k in range(j))
        roots += 1
        for _i in range(j + 1, n):
            mac += sum(1 for _k in range(j))
            divisions += 1
    expected = without_zeros(mac=batch * mac, arith=batch * divisions, special=batch * roots)
    assert cost(lambda: torch.linalg.cholesky(matrix(batch, n, n))) == expected


@few
@given(m=sizes, n=sizes, batch=st.integers(0, 2))
def test_lu(m, n, batch):
    mac = divisions = compared = 0
    for k in range(min(m, n)):
        for _i in range(k + 1, m):
            compared += 1
            divisions += 1
            mac += sum(1 for _j in range(k + 1, n))
    expected = without_zeros(mac=batch * mac, arith=batch * divisions, compare=batch * compared)
    assert cost(lambda: torch.linalg.lu_factor(matrix(batch, m, n))) == expected


def substitution(n, columns, unit):
    mac = divisions = 0
    for _column in range(columns):
        for i in range(n):
            mac += sum(1 for _j in range(i))
            divisions += not unit
    return mac, divisions


@few
@given(n=sizes, columns=st.integers(0, 3), batch=st.integers(0, 2), unit=st.booleans())
def test_triangular_solve(n, columns, batch, unit):
    mac, divisions = substitution(n, columns, unit)
    a, b = matrix(batch, n, n), torch.zeros(batch, n, columns, dtype=torch.float64)
    expected = without_zeros(mac=batch * mac, arith=batch * divisions)
    options = {"upper": False, "unitriangular": unit}
    assert cost(lambda: torch.linalg.solve_triangular(a, b, **options)) == expected


@few
@given(n=sizes, columns=st.integers(1, 3))
def test_solving_with_factors(n, columns):
    a, b = matrix(n, n), torch.zeros(n, columns, dtype=torch.float64)
    lower, upper = substitution(n, columns, True), substitution(n, columns, False)
    factors = torch.linalg.lu_factor(a)
    expected = without_zeros(mac=lower[0] + upper[0], arith=upper[1])
    assert cost(lambda: torch.linalg.lu_solve(*factors, b)) == expected
    expected = without_zeros(mac=2 * upper[0], arith=2 * upper[1])
    assert cost(lambda: torch.cholesky_solve(b, a)) == expected


# ---- by hand ----


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        # LU of 3: 4 + 1 pairs, 2 + 1 divisions and comparisons; solve: 6 pairs, 3 divisions
        (
            lambda: torch.linalg.solve(matrix(3, 3), torch.zeros(3, dtype=torch.float64)),
            {"mac": 5 + 6, "arith": 3 + 3, "compare": 3},
        ),
        (lambda: torch.linalg.inv(matrix(2, 3, 3)), {"mac": 2 * 27}),
        (lambda: torch.linalg.det(matrix(3, 3)), {"mac": 5, "arith": 3 + 2, "compare": 3}),
        (
            lambda: torch.linalg.slogdet(matrix(3, 3)),
            {"mac": 5, "arith": 3 + 2, "compare": 3 + 6, "special": 3},
        ),
        # 9*(4 - 1) for R, 2*4*3*3 - 7*9 + 18 for Q
        (lambda: torch.linalg.qr(matrix(4, 3)), {"mac": 27 + 27}),
        (lambda: torch.linalg.qr(matrix(4, 3), "r"), {"mac": 27}),
        # all of Q, 4x4: 2*4*4*3 - 8*9 + 18 = 42
        (lambda: torch.linalg.qr(matrix(4, 3), "complete"), {"mac": 27 + 42}),
        (lambda: torch.geqrf(matrix(3, 4)), {"mac": 27}),
        # values alone; torch.linalg.svdvals asks for vectors under a dispatch mode
        (lambda: aten._linalg_svd(matrix(4, 3), compute_uv=False), {"mac": 72 - 18}),
        (lambda: torch.linalg.svd(matrix(3, 4), full_matrices=False), {"mac": 252 + 108}),
        (lambda: torch.linalg.svd(matrix(4, 3)), {"mac": (192 + 288 + 243) // 2}),
        (lambda: torch.linalg.eigh(matrix(4, 4)), {"mac": 9 * 64 // 2}),
        (lambda: aten._linalg_eigh(matrix(4, 4), compute_v=False), {"mac": 2 * 64 // 3}),
        # a real matrix, though its eigenvalues are complex numbers
        (lambda: torch.linalg.eig(matrix(4, 4)), {"mac": 25 * 64 // 2}),
        (
            lambda: torch.linalg.lstsq(matrix(4, 3), torch.zeros(4, 2, dtype=torch.float64)),
            {"mac": 27 + 2 * 3 * 5 + 2 * 3, "arith": 6},
        ),
        (lambda: torch.linalg.matrix_exp(matrix(3, 3)), {"mac": 5 * 27}),
        (lambda: torch.linalg.pinv(matrix(4, 3)), {"mac": 360 + 36, "arith": 9, "compare": 3}),
        (lambda: torch.linalg.ldl_factor(matrix(3, 3)), {"mac": 4, "arith": 3}),
        (lambda: torch.cholesky_inverse(matrix(3, 3)), {"mac": 9}),
        (
            lambda: torch.linalg.cross(torch.zeros(4, 3), torch.zeros(4, 3)),
            {"mac": 12, "arith": 12},
        ),
        (
            lambda: torch.linalg.householder_product(matrix(4, 3), torch.zeros(3).double()),
            {"mac": 27},
        ),
        # 2 columns of 4 by 3 reflections: 2*3*(8 - 3)
        (
            lambda: torch.ormqr(matrix(4, 3), torch.zeros(3).double(), torch.zeros(4, 2).double()),
            {"mac": 30},
        ),
    ],
)
def test_matrices(run, expected):
    assert cost(run) == expected


def test_terms_of_a_polynomial_are_added_up():
    """A matrix of 5x3 times 3 matrices of 2x2: 20 elements of 3 products each."""
    terms, coefficients = torch.ones(3, 2, 2), torch.ones(5, 3)
    expected = {"mac": 60, "dot": 20}
    assert cost(lambda: aten._compute_linear_combination(terms, coefficients), "matmul") == expected


def test_complex_matrices():
    a = matrix(3, 3).to(torch.complex128)
    # a pair is four of real numbers, a division six operations, a root one
    assert cost(lambda: torch.linalg.cholesky(a)) == {"mac": 4 * 4, "arith": 6 * 3, "special": 3}
    assert cost(lambda: torch.linalg.eigh(a)) == {"mac": 4 * (9 * 27 // 2)}


@pytest.mark.parametrize("n", [0, 1])
def test_the_smallest_matrices(n):
    a = matrix(n, n)
    assert cost(lambda: torch.linalg.cholesky(a)) == without_zeros(special=n)
    assert cost(lambda: torch.linalg.lu_factor(a)) == {}
    assert cost(lambda: torch.linalg.inv(a)) == without_zeros(mac=n)
    assert cost(lambda: torch.linalg.det(a)) == {}


# ---- Fourier transforms ----


def complex_zeros(*shape):
    return torch.zeros(*shape, dtype=torch.complex64)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda: torch.fft.fft(complex_zeros(8)), 5 * 8 * 3),
        (lambda: torch.fft.ifft(complex_zeros(3, 8)), 3 * 5 * 8 * 3),
        (lambda: torch.fft.fft(complex_zeros(5)), 5 * 5 * 3),  # log2 5, upwards
        (lambda: torch.fft.fft(complex_zeros(4, 1)), 0),
        # 4 transforms of 8 points, 8 of 4
        (lambda: torch.fft.fft2(complex_zeros(4, 8)), 5 * 32 * 3 + 5 * 32 * 2),
        (lambda: torch.fft.rfft(torch.zeros(8)), 5 * 8 * 3 // 2),
        # 4 of 8 real points, then 5 columns of 4
        (lambda: torch.fft.rfft2(torch.zeros(4, 8)), 5 * 32 * 3 // 2 + 5 * 20 * 2),
        (lambda: torch.fft.irfft2(complex_zeros(4, 5)), 5 * 32 * 3 // 2 + 5 * 20 * 2),
    ],
)
def test_fourier_transforms(run, expected):
    assert cost(run, "fft") == without_zeros(arith=expected)
