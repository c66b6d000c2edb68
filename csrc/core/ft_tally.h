/* The tally of operations: one row of work for each operation, module, phase, class and dtype. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_TALLY_H
#define FT_TALLY_H

#include "ft_cost.h"

#define FT_PHASE_LIST(X)    \
    X(FORWARD, forward)     \
    X(BACKWARD, backward)   \
    X(RECOMPUTE, recompute) \
    X(OPTIMIZER, optimizer)

typedef enum {
#define FT_PHASE_MEMBER(upper, lower) FT_PHASE_##upper,
    FT_PHASE_LIST(FT_PHASE_MEMBER)
#undef FT_PHASE_MEMBER
        FT_PHASE_COUNT
} ft_phase;

const char *ft_phase_name(ft_phase phase);

/* The numbers of operations, modules and dtypes are the caller's. */
typedef struct {
    uint32_t op, module;
    uint16_t dtype;
    uint8_t phase, op_class;
} ft_work_key;

typedef struct {
    ft_work_key key;
    uint64_t calls;
    ft_cost cost;
} ft_work;

/* Rows in the order in which they first came; the index over them is open addressing. */
typedef struct {
    ft_allocator allocator;
    ft_work *rows;
    size_t count, capacity;
    uint32_t *slots; /* 0 is free, else the number of a row plus 1 */
    size_t slot_count;
    uint64_t operations, unknown_operations; /* that ran; of which there is no rule */
    uint64_t *visits;                        /* calls of each module, by its number */
    size_t visit_count;
} ft_tally;

void ft_tally_init(ft_tally *tally, ft_allocator allocator);
void ft_tally_clear(ft_tally *tally);
/* Adds to the row of that key, or makes it. All or nothing. */
ft_status ft_tally_add(ft_tally *tally, ft_work_key key, const ft_cost *cost, uint64_t calls);
/* A module was called. */
ft_status ft_tally_visit(ft_tally *tally, uint32_t module);
uint64_t ft_tally_visits(const ft_tally *tally, uint32_t module);
/* Makes room, after which so many rows more can be added without a failure. */
ft_status ft_tally_reserve(ft_tally *tally, size_t rows);
/* Makes room for all of `from`. */
ft_status ft_tally_reserve_for(ft_tally *tally, const ft_tally *from);
/* Adds everything in `from`, so many times. All or nothing. */
ft_status ft_tally_merge(ft_tally *tally, const ft_tally *from, uint64_t times);
/* Whether both come to the same work, under any convention; bytes and calls aside. */
bool ft_tally_same_work(const ft_tally *a, const ft_tally *b);
/* Whether both have the same rows, in whatever order, operations and visits. */
bool ft_tally_equal(const ft_tally *a, const ft_tally *b);

/* What rows are grouped by. */
typedef enum {
    FT_BY_OP,
    FT_BY_MODULE,
    FT_BY_PHASE,
    FT_BY_DTYPE,
    FT_BY_CLASS,
} ft_axis;

size_t ft_work_position(const ft_work *row, ft_axis axis);
/* Adds the FLOPs of each row to sums[its position on the axis]; rows beyond `size` are left out. */
void ft_tally_sum(const ft_tally *tally, const ft_convention *convention, ft_axis axis,
                  ft_u128 *sums, size_t size);
ft_u128 ft_tally_total(const ft_tally *tally, const ft_convention *convention);
/* How much of one kind there was in all rows. */
ft_u128 ft_tally_kind(const ft_tally *tally, ft_kind kind);

#endif
