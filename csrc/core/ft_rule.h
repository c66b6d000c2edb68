/* What a rule is: a formula with its roles and worked examples, and a name-map row that feeds it.
 */
/* SPDX-License-Identifier: MIT */
#ifndef FT_RULE_H
#define FT_RULE_H

#include "ft_cost.h"
#include "ft_shape.h"

#include <string.h>

#define FT_MAX_ROLES 14
#define FT_MAX_EXAMPLES 3
#define FT_MAX_ROWS 4 /* of one name in a name map */

/* One operand of a formula, already read from wherever it was: a number, or a list of integers
 * (the shape of a tensor, the sizes of a kernel). */
typedef struct {
    bool present;
    bool is_number;
    uint64_t number;
    ft_shape shape;
} ft_operand;

typedef enum {
    FT_ROLE_END, /* terminates a list of roles */
    FT_TENSOR,   /* a shape */
    FT_STORED,   /* a shape, or how many elements: those that a sparse tensor stores */
    FT_ELEMENTS, /* the same of what is worked on element by element: with a sparse argument, what
                    that stores, even where the result is dense; costs are in proportion to it */
    FT_SIZES,    /* one integer per spatial dimension, or one that stands for all */
    FT_NUMBER,   /* an integer, 0 or more */
    FT_FLAG,     /* a number that is 0 or 1; a flag that is not there is 0 */
    FT_OPTIONAL, /* a number, a shape, or nothing */
    FT_INTEGERS, /* a list of any length, or nothing: axes, masks, lengths */
    FT_LIMITS,   /* a number, a list in which -1 is no limit, or nothing */
} ft_role_kind;

typedef struct {
    const char *name;
    ft_role_kind kind;
} ft_role;

typedef struct {
    const char *text; /* the arithmetic, so that a reader can check it */
    ft_operand operands[FT_MAX_ROLES];
    ft_cost cost;
} ft_example;

typedef struct {
    const char *name;
    const char *equation; /* in terms of the roles; what the cost is made of */
    const char *source;   /* where the equation comes from */
    ft_class op_class;
    ft_status (*evaluate)(const ft_operand *operands, ft_cost *cost);
    ft_role roles[FT_MAX_ROLES];
    ft_example examples[FT_MAX_EXAMPLES];
} ft_formula;

/* All formulas; *count receives their number. */
const ft_formula *const *ft_formulas(size_t *count);
const ft_formula *ft_formula_find(const char *name); /* NULL where there is none */
int ft_formula_role_count(const ft_formula *formula);
/* The one way to call a formula: checks the operands against the roles, clears *cost, and turns an
 * overflow into FT_OVERFLOW. */
ft_status ft_formula_evaluate(const ft_formula *formula, const ft_operand *operands, ft_cost *cost);

/* Where a name map finds the operand for a role. Layers have attributes and are called with
 * arguments by position; operations have a schema, which names all of their arguments. */
typedef enum {
    FT_FROM_INPUT,     /* argument `index`, or the keyword argument `name`: its shape */
    FT_FROM_OUTPUT,    /* tensor `index` of the result: its shape */
    FT_FROM_ATTRIBUTE, /* attribute `name` of the layer: a number or a list of them */
    FT_FROM_PRESENCE,  /* 1 if attribute or argument `name` is there, neither None nor False */
    FT_FROM_CONSTANT,  /* `index` itself */
    FT_FROM_VALUE,     /* argument `name`: a whole number, a boolean or a list of these; infinity
                          is the largest number there is */
    FT_FROM_SCALE,     /* 1 if argument `name` is a number other than 1 */
    FT_FROM_NONZERO,   /* 1 if argument `name` is a number other than 0 */
    FT_FROM_ENTRIES,   /* how many values the sparse tensor `name` holds */
    FT_FROM_LENGTH,    /* how many elements the list `name` has */
    FT_FROM_OPTION,    /* 1 if the counter's option `name` is on */
    FT_FROM_EQUALS,    /* 1 if argument `name` is the number `index` */
    FT_FROM_INFINITE,  /* 1 if argument `name` is a number without bound */
    FT_FROM_TEXT,      /* 1 if argument `name` is one of the words that stand behind it, such as
                          "amax or amin" (see ft_source_words) */
    FT_FROM_AXES,      /* the size of the dimensions `name` of the first tensor; all where None */
    FT_FROM_LENGTHS,   /* the differences of the offsets in tensor `name`, if they can be read */
    FT_FROM_NESTED,    /* the lengths of the sequences in tensor `name`, if it is a nested one */
    FT_FROM_BLOCKS,    /* size, number of masks and places of the blocks of the mask `name`, if they
                          can be read; see flex.c */
    FT_FROM_PACKED,    /* 1 if the packed weights `name` have a bias among them */
} ft_source_kind;

typedef struct {
    ft_source_kind kind;
    int index;
    const char *name;
} ft_source;

/* Of FT_FROM_TEXT, whose name is two texts with their ends. */
static inline const char *
ft_source_words(const ft_source *source)
{
    return source->name + strlen(source->name) + 1;
}

/* One row of a name map. What does two kinds of work has two rows in a row. */
typedef struct {
    const char *name; /* the framework's own, fully qualified */
    const ft_formula *formula;
    unsigned flags;
    ft_source sources[FT_MAX_ROLES]; /* in the order of the formula's roles */
} ft_map_row;

enum {
    FT_ROW_UNIT = 1,       /* its children run inside of it and are not counted again */
    FT_ROW_CNN = 2,        /* one of the two layers that the CNN estimator counts */
    FT_ROW_RECOMPUTED = 4, /* forward work that a backward operation does again */
    FT_ROW_EACH = 8,       /* works on lists of tensors, element by element */
    FT_ROW_PRODUCTS = 16,  /* its arithmetic are multiplications: for complex numbers 6 each */
    FT_ROW_REAL = 32,      /* counts operations on real numbers, whatever its tensors hold */
    FT_ROW_ARGUMENT = 64,  /* computes with the numbers of its first argument, not of its result */
};

/* Shorthands in which the tables are written. */
#define FT_SHAPE_OF(...)                                                           \
    {                                                                              \
        .present = true,                                                           \
        .shape = {(const int64_t[]){__VA_ARGS__},                                  \
                  (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))} \
    }
#define FT_NUMBER_OF(value) {.present = true, .is_number = true, .number = (value)}
#define FT_ABSENT {.present = false}
#define FT_COUNT(value) {(value), 0}

#endif
