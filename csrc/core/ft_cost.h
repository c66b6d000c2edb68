/* Costs by kind of work, the classes of operations, and the conventions that turn a cost into
 * FLOPs. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_COST_H
#define FT_COST_H

#include "ft_u128.h"

/* A rule never returns "FLOPs": it returns how much there was of each kind. */
#define FT_KIND_LIST(X)                                                                     \
    X(MAC, mac, "multiply-accumulate pairs inside dot products")                            \
    X(DOT, dot, "dot products, each of which saves one addition (0 where the length is 0)") \
    X(BIAS, bias, "additions of a bias to a dot product")                                   \
    X(ARITH, arith, "add, subtract, multiply, divide, negate")                              \
    X(COMPARE, compare, "max, min, abs, sign, comparisons, ReLU")                           \
    X(SPECIAL, special, "exp, log, sqrt, tanh, erf, sigmoid, pow, trigonometry")            \
    X(BYTES, bytes, "read and written, from shapes and dtypes; no FLOPs")

typedef enum {
#define FT_KIND_MEMBER(upper, lower, text) FT_##upper,
    FT_KIND_LIST(FT_KIND_MEMBER)
#undef FT_KIND_MEMBER
        FT_KIND_COUNT
} ft_kind;

typedef struct {
    ft_u128 by_kind[FT_KIND_COUNT];
} ft_cost;

const char *ft_kind_name(ft_kind kind);
const char *ft_kind_text(ft_kind kind);
void ft_cost_add(ft_cost *sum, const ft_cost *cost);
/* Of real numbers, from a cost counted in complex ones: a multiplication is 4 and 2 additions, a
 * dot product two of twice the length, an addition 2; `products`: its arithmetic multiplies. */
void ft_cost_complex(ft_cost *cost, bool products);

/* Name, and whether the class is a contraction: work that is made of dot products. `stated` is a
 * number of FLOPs that someone else gave: its `arith`, the same under every convention. */
#define FT_CLASS_LIST(X)             \
    X(MATMUL, matmul, true)          \
    X(CONV, conv, true)              \
    X(ATTENTION, attention, true)    \
    X(RECURRENT, recurrent, true)    \
    X(NORM, norm, false)             \
    X(SOFTMAX, softmax, false)       \
    X(POOL, pool, false)             \
    X(ACTIVATION, activation, false) \
    X(POINTWISE, pointwise, false)   \
    X(REDUCTION, reduction, false)   \
    X(EMBEDDING, embedding, false)   \
    X(RESAMPLE, resample, false)     \
    X(LOSS, loss, false)             \
    X(OPTIMIZER, optimizer, false)   \
    X(FFT, fft, false)               \
    X(LINALG, linalg, false)         \
    X(SPARSE, sparse, false)         \
    X(DATA, data, false)             \
    X(UNKNOWN, unknown, false)       \
    X(STATED, stated, false)

typedef enum {
#define FT_CLASS_MEMBER(upper, lower, contraction) FT_CLASS_##upper,
    FT_CLASS_LIST(FT_CLASS_MEMBER)
#undef FT_CLASS_MEMBER
        FT_CLASS_COUNT
} ft_class;

const char *ft_class_name(ft_class op_class);
bool ft_class_is_contraction(ft_class op_class);

/* FLOPs per unit of each kind, for contractions and for everything else. A weight of -1 stands
 * only at `dot`, of which no cost has more than it has `mac`: no reading can fall below 0. */
typedef struct {
    const char *name;
    const char *text;
    int8_t contractions[FT_KIND_COUNT];
    int8_t others[FT_KIND_COUNT];
    const char *rules; /* rows whose names begin so count in place of others; NULL: it has none */
} ft_convention;

/* The closed list of conventions; *count receives its length. */
const ft_convention *ft_conventions(size_t *count);
const ft_convention *ft_convention_find(const char *name); /* NULL where there is none */
ft_u128 ft_cost_read(const ft_cost *cost, ft_class op_class, const ft_convention *convention);

#endif
