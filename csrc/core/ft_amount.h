/* Amounts that people write, "2.5 EFLOP" or "312 TFLOP/s", read exactly: no digit goes through a
 * double. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_AMOUNT_H
#define FT_AMOUNT_H

#include "ft_u128.h"

/* What can be wrong with a text. */
#define FT_AMOUNT_LIST(X)                                                                         \
    X(OK, "ok")                                                                                   \
    X(NO_NUMBER, "it must begin with a number such as 2.5, 1,000 or 1e15")                        \
    X(NEGATIVE, "it is below 0")                                                                  \
    X(UNKNOWN_UNIT, "after the number comes FLOP, with k, M, G, T, P, E, Z, Y, R or Q before it") \
    X(PER_SECOND, "FLOPS and FLOP/s are FLOPs per second, and this is an amount: write FLOP")     \
    X(TOO_LARGE, "it does not fit in 128 bits")

typedef enum {
#define FT_AMOUNT_MEMBER(name, text) FT_AMOUNT_##name,
    FT_AMOUNT_LIST(FT_AMOUNT_MEMBER)
#undef FT_AMOUNT_MEMBER
} ft_amount_problem;

const char *ft_amount_text(ft_amount_problem problem);

/* An amount, or with `per_second` a rate: "1e15", "1,000 GFLOP", "2.5 PFLOPs"; "312 TFLOP/s",
 * "312 TFLOPS". A part of a FLOP is rounded up. *value is set where the answer is FT_AMOUNT_OK. */
ft_amount_problem ft_amount_parse(const char *text, bool per_second, ft_u128 *value);
/* A number from 0 to below 2^128, a part of a FLOP rounded up; the overflow mark for all others. */
ft_u128 ft_amount_of_double(double value);

#endif
