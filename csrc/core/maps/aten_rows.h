/* The words in which the tables of operations are written. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_ATEN_ROWS_H
#define FT_ATEN_ROWS_H

#include "../formulas/formulas.h"
#include "maps.h"

/* Arguments are named as in the operation's schema. A name without overload stands for all
 * overloads, for those in place (add_) and for those on lists (_foreach_add, _foreach_add_). */
#define TENSOR(argument) {FT_FROM_INPUT, 0, argument}
/* For a role that stands for itself where there is nothing. */
#define NOTHING {FT_FROM_INPUT, 0, NULL}
#define OUT {FT_FROM_OUTPUT, 0, NULL}
#define OUT_NUMBER(index) {FT_FROM_OUTPUT, index, NULL}
#define VALUE(argument) {FT_FROM_VALUE, 0, argument}
#define GIVEN(argument) {FT_FROM_PRESENCE, 0, argument}
#define SCALED(argument) {FT_FROM_SCALE, 0, argument}
#define NONZERO(argument) {FT_FROM_NONZERO, 0, argument}
#define ENTRIES(argument) {FT_FROM_ENTRIES, 0, argument}
#define LENGTH(argument) {FT_FROM_LENGTH, 0, argument}
#define LENGTHS(argument) {FT_FROM_LENGTHS, 0, argument}
#define BLOCKS(argument) {FT_FROM_BLOCKS, 0, argument}
#define NESTED(argument) {FT_FROM_NESTED, 0, argument}
#define PACKED(argument) {FT_FROM_PACKED, 0, argument}
#define OPTION(option) {FT_FROM_OPTION, 0, option}
#define EQUALS(argument, number) {FT_FROM_EQUALS, number, argument}
#define INFINITE(argument) {FT_FROM_INFINITE, 0, argument}
#define TEXT(argument, words) {FT_FROM_TEXT, 0, argument "\0" words}
#define AXES(argument) {FT_FROM_AXES, 0, argument}
#define IS(value) {FT_FROM_CONSTANT, value, NULL}

/* So much arithmetic, so many comparisons and special functions per element of a tensor; further
 * sources are options that cost one step more per element. */
#define PER(formula, op, flags, tensor, arith, compare, special, ...) \
    {                                                                 \
        "aten." op, &formula, flags,                                  \
        {                                                             \
            tensor, IS(arith), IS(compare), IS(special), __VA_ARGS__  \
        }                                                             \
    }

/* Per fold, per element and per result of a reduction. */
#define FOLD(op, input, fold_arith, fold_compare, arith, compare, special, end_arith, end_special) \
    {                                                                                              \
        "aten." op, &ft_reduction, 0,                                                              \
        {                                                                                          \
            TENSOR(input), OUT, IS(fold_arith), IS(fold_compare), IS(arith), IS(compare),          \
                IS(special), IS(end_arith), IS(end_special)                                        \
        }                                                                                          \
    }

#define ZERO(op, formula)        \
    {                            \
        "aten." op, &formula, 0, \
        {{0}}                    \
    }

#endif
