/* Rows of work behind a hash index, and their sums under a convention. */
/* SPDX-License-Identifier: MIT */
#include "ft_tally.h"

#include <string.h>

static const char *const phase_names[] = {
#define FT_PHASE_NAME(upper, lower) #lower,
    FT_PHASE_LIST(FT_PHASE_NAME)
#undef FT_PHASE_NAME
};

const char *
ft_phase_name(ft_phase phase)
{
    return phase_names[phase];
}

void
ft_tally_init(ft_tally *tally, ft_allocator allocator)
{
    memset(tally, 0, sizeof *tally);
    tally->allocator = allocator;
}

void
ft_tally_clear(ft_tally *tally)
{
    ft_allocator allocator = tally->allocator;
    ft_free(allocator, tally->rows);
    ft_free(allocator, tally->slots);
    ft_free(allocator, tally->visits);
    ft_tally_init(tally, allocator);
}

static uint64_t
mix(uint64_t value)
{
    value ^= value >> 33;
    value *= 0xff51afd7ed558ccdu;
    value ^= value >> 33;
    return value;
}

static size_t
hash(ft_work_key key)
{
    uint64_t names = (uint64_t)key.op << 32 | key.module;
    uint64_t rest = (uint64_t)key.dtype << 16 | (uint64_t)key.phase << 8 | key.op_class;
    return (size_t)mix(names ^ mix(rest));
}

static bool
same(ft_work_key a, ft_work_key b)
{
    return a.op == b.op && a.module == b.module && a.dtype == b.dtype && a.phase == b.phase &&
           a.op_class == b.op_class;
}

/* The slot that holds the key, or the free one where it belongs; slot_count is a power of two. */
static uint32_t *
slot_of(const ft_tally *tally, ft_work_key key)
{
    size_t at = hash(key) & (tally->slot_count - 1);
    while (tally->slots[at] != 0 && !same(tally->rows[tally->slots[at] - 1].key, key)) {
        at = (at + 1) & (tally->slot_count - 1);
    }
    return &tally->slots[at];
}

/* An index at most half full. */
static ft_status
resize(ft_tally *tally, size_t capacity)
{
    ft_allocator allocator = tally->allocator;
    if (capacity > UINT32_MAX / 2) {
        return FT_NO_MEMORY;
    }
    ft_work *rows = allocator.resize(allocator.context, tally->rows, capacity * sizeof *rows);
    if (rows == NULL) {
        return FT_NO_MEMORY;
    }
    tally->rows = rows;
    uint32_t *slots = allocator.resize(allocator.context, NULL, 2 * capacity * sizeof *slots);
    if (slots == NULL) {
        return FT_NO_MEMORY; /* more rows than `capacity` says do no harm */
    }
    ft_free(allocator, tally->slots);
    memset(slots, 0, 2 * capacity * sizeof *slots);
    tally->slots = slots;
    tally->slot_count = 2 * capacity;
    tally->capacity = capacity;
    for (size_t i = 0; i < tally->count; i++) {
        *slot_of(tally, tally->rows[i].key) = (uint32_t)i + 1;
    }
    return FT_OK;
}

ft_status
ft_tally_reserve(ft_tally *tally, size_t rows)
{
    if (rows == 0) {
        return FT_OK;
    }
    size_t capacity = tally->capacity == 0 ? 64 : tally->capacity;
    while (capacity - tally->count < rows && capacity <= UINT32_MAX) {
        capacity *= 2;
    }
    return capacity == tally->capacity ? FT_OK : resize(tally, capacity);
}

ft_status
ft_tally_add(ft_tally *tally, ft_work_key key, const ft_cost *cost, uint64_t calls)
{
    if (tally->count == tally->capacity) {
        ft_status status = ft_tally_reserve(tally, 1);
        if (status != FT_OK) {
            return status;
        }
    }
    uint32_t *slot = slot_of(tally, key);
    if (*slot == 0) {
        tally->rows[tally->count] = (ft_work){.key = key};
        *slot = (uint32_t)++tally->count;
    }
    ft_work *row = &tally->rows[*slot - 1];
    row->calls += calls;
    ft_cost_add(&row->cost, cost);
    return FT_OK;
}

static ft_status
reserve_visits(ft_tally *tally, size_t count)
{
    if (count <= tally->visit_count) {
        return FT_OK;
    }
    size_t size = tally->visit_count == 0 ? 16 : tally->visit_count;
    while (size < count) {
        size *= 2;
    }
    uint64_t *visits =
        tally->allocator.resize(tally->allocator.context, tally->visits, size * sizeof *visits);
    if (visits == NULL) {
        return FT_NO_MEMORY;
    }
    memset(visits + tally->visit_count, 0, (size - tally->visit_count) * sizeof *visits);
    tally->visits = visits;
    tally->visit_count = size;
    return FT_OK;
}

ft_status
ft_tally_visit(ft_tally *tally, uint32_t module)
{
    ft_status status = reserve_visits(tally, (size_t)module + 1);
    if (status == FT_OK) {
        tally->visits[module]++;
    }
    return status;
}

uint64_t
ft_tally_visits(const ft_tally *tally, uint32_t module)
{
    return module < tally->visit_count ? tally->visits[module] : 0;
}

ft_status
ft_tally_reserve_for(ft_tally *tally, const ft_tally *from)
{
    ft_status status = ft_tally_reserve(tally, from->count);
    return status == FT_OK ? reserve_visits(tally, from->visit_count) : status;
}

ft_status
ft_tally_merge(ft_tally *tally, const ft_tally *from, uint64_t times)
{
    ft_status status = times == 0 ? FT_OK : ft_tally_reserve_for(tally, from);
    if (times == 0 || status != FT_OK) {
        return status;
    }
    for (size_t i = 0; i < from->count; i++) {
        ft_cost cost = from->rows[i].cost;
        for (int kind = 0; kind < FT_KIND_COUNT; kind++) {
            cost.by_kind[kind] = ft_u128_multiply(cost.by_kind[kind], ft_u128_of(times));
        }
        ft_tally_add(tally, from->rows[i].key, &cost, times * from->rows[i].calls);
    }
    for (size_t i = 0; i < from->visit_count; i++) {
        tally->visits[i] += times * from->visits[i];
    }
    tally->operations += times * from->operations;
    tally->unknown_operations += times * from->unknown_operations;
    return FT_OK;
}

bool
ft_tally_equal(const ft_tally *a, const ft_tally *b)
{
    bool equal = a->count == b->count && a->operations == b->operations &&
                 a->unknown_operations == b->unknown_operations;
    size_t most = a->visit_count > b->visit_count ? a->visit_count : b->visit_count;
    for (size_t i = 0; i < most && equal; i++) {
        equal = ft_tally_visits(a, (uint32_t)i) == ft_tally_visits(b, (uint32_t)i);
    }
    for (size_t i = 0; i < a->count && equal; i++) {
        const ft_work *row = &a->rows[i];
        uint32_t at = *slot_of(b, row->key);
        equal = at != 0 && b->rows[at - 1].calls == row->calls &&
                memcmp(&b->rows[at - 1].cost, &row->cost, sizeof row->cost) == 0;
    }
    return equal;
}

size_t
ft_work_position(const ft_work *row, ft_axis axis)
{
    switch (axis) {
    case FT_BY_OP:
        return row->key.op;
    case FT_BY_MODULE:
        return row->key.module;
    case FT_BY_PHASE:
        return row->key.phase;
    case FT_BY_DTYPE:
        return row->key.dtype;
    default:
        return row->key.op_class;
    }
}

static ft_u128
read_row(const ft_work *row, const ft_convention *convention)
{
    return ft_cost_read(&row->cost, (ft_class)row->key.op_class, convention);
}

void
ft_tally_sum(const ft_tally *tally, const ft_convention *convention, ft_axis axis, ft_u128 *sums,
             size_t size)
{
    for (size_t i = 0; i < tally->count; i++) {
        size_t at = ft_work_position(&tally->rows[i], axis);
        if (at < size) {
            sums[at] = ft_u128_add(sums[at], read_row(&tally->rows[i], convention));
        }
    }
}

ft_u128
ft_tally_total(const ft_tally *tally, const ft_convention *convention)
{
    ft_u128 total = FT_U128_ZERO;
    for (size_t i = 0; i < tally->count; i++) {
        total = ft_u128_add(total, read_row(&tally->rows[i], convention));
    }
    return total;
}

ft_u128
ft_tally_kind(const ft_tally *tally, ft_kind kind)
{
    ft_u128 total = FT_U128_ZERO;
    for (size_t i = 0; i < tally->count; i++) {
        total = ft_u128_add(total, tally->rows[i].cost.by_kind[kind]);
    }
    return total;
}

bool
ft_tally_same_work(const ft_tally *a, const ft_tally *b)
{
    bool same = true;
    for (int kind = 0; kind < FT_KIND_COUNT; kind++) {
        same = same && (kind == FT_BYTES || ft_u128_compare(ft_tally_kind(a, (ft_kind)kind),
                                                            ft_tally_kind(b, (ft_kind)kind)) == 0);
    }
    return same;
}
