/* Closed forms: formulas of numbers alone, one or several in a sum, evaluated many times over. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_CLOSED_H
#define FT_CLOSED_H

#include "ft_rule.h"

#define FT_MAX_ARGUMENTS 28
#define FT_MAX_FACTORS 6
#define FT_MAX_TERMS 32
#define FT_MAX_SLOTS 256 /* of all terms together */

/* One formula of a sum, with an operand for each of its roles, separated by blanks: a product such
 * as heads*head_dim or in_channels/groups of arguments and whole numbers, a shape such as
 * (batch out_features), or - for nothing. `times` is how often it is done, a product; NULL is once.
 */
typedef struct {
    const ft_formula *formula;
    const char *operands, *times;
} ft_term;

/* Arguments by name, separated by blanks; the last ones may have a default, a number or another
 * argument, as in keys=queries. A sign before the name says more of it:
 *   *  while it is 1 or more and the others stay, the cost is a*x + b
 *   ?  0 or 1
 *   !  0 or 1; where it is 1, what * says does not hold
 *   ~  may also be -1 */
typedef struct {
    const char *name, *about, *arguments;
    const char *example;  /* arguments that give an example of the first term's formula; or NULL */
    const ft_term *terms; /* up to one without a formula */
} ft_closed_form;

const ft_closed_form *ft_closed_form_at(size_t index); /* NULL past the last one */

/* A product of arguments, as parsed: constant * all of `factors` / divisor. */
typedef struct {
    uint64_t constant;
    uint8_t factors[FT_MAX_FACTORS], count;
    int8_t divisor; /* an argument, or -1 */
} ft_product;

/* Where a product goes: into the number of an operand, or into a dimension of it. */
typedef struct {
    ft_product product;
    uint8_t term, role;
    bool is_dimension;
} ft_slot;

typedef struct {
    const char *name, *value; /* in the form's text; value is NULL without a default */
    int name_length, value_length;
    char sign; /* of the above, or 0 */
} ft_argument;

/* A form that has been parsed. */
typedef struct {
    const ft_closed_form *form;
    ft_argument arguments[FT_MAX_ARGUMENTS];
    ft_product times[FT_MAX_TERMS];
    ft_slot slots[FT_MAX_SLOTS];
    int argument_count, term_count, slot_count;
} ft_plan;

/* FT_BAD_SHAPE where the form's text is wrong, which no form of the list is. */
ft_status ft_plan_parse(const ft_closed_form *form, ft_plan *plan);

/* Operands that are filled in again and again; for one thread. Larger than a stack likes to have
 * many of. */
typedef struct {
    const ft_plan *plan;
    ft_operand operands[FT_MAX_TERMS][FT_MAX_ROLES];
    int64_t dims[FT_MAX_SLOTS];
} ft_filled;

void ft_filled_start(const ft_plan *plan, ft_filled *filled);
/* FT_BAD_SHAPE where an argument is below 0 or does not fit; FT_OVERFLOW past 128 bits, or where a
 * dimension passes 63. */
ft_status ft_filled_evaluate(ft_filled *filled, const int64_t *arguments,
                             const ft_convention *convention, ft_u128 *flops);

/* ---- many points at once ---- */

#define FT_MAX_VARYING 8

/* The same cost as a sum of products of columns, in 64 bits: its coefficients are what the formulas
 * give where each argument that varies is 1 or 2. The caller says which these are and in which
 * column each of them is: two may share one. */
typedef struct {
    int varying, columns, count;
    uint8_t arguments[FT_MAX_VARYING], column_of[FT_MAX_VARYING];
    uint8_t common[FT_MAX_VARYING]; /* powers of the columns in every product, beside its own */
    struct {
        int64_t coefficient;
        uint8_t powers[FT_MAX_VARYING];
    } products[1 << FT_MAX_VARYING];
} ft_polynomial;

/* False where the cost is no such sum, or its coefficients are too large. `arguments` are all of
 * the form; the values of those that vary are lost. */
bool ft_polynomial_make(ft_filled *filled, int64_t *arguments, const ft_convention *convention,
                        ft_polynomial *polynomial);
/* Of `length` points; false, with nothing written, where an argument is below 1 or a count might
 * pass 63 bits. */
bool ft_polynomial_evaluate(const ft_polynomial *polynomial, const int64_t *const *columns,
                            size_t length, int64_t *flops);

#endif
