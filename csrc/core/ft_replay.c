/* Groups of steps with one key behind a hash index, the kinds in them, and which step is counted.
 */
/* SPDX-License-Identifier: MIT */
#include "ft_replay.h"

#include <string.h>

/* Counted steps of one kind in a row, before what runs compiled stands for it; counted steps that
 * do not explain one that waits, before compiled code is taken to be the reason. */
enum { STREAK_OF_COMPILED = 2, MAX_FUTILE = 64 };

void
ft_replay_init(ft_replay *replay, ft_allocator allocator, const ft_convention *convention,
               ft_trace_mode trace, uint64_t verify_every, uint64_t seed)
{
    memset(replay, 0, sizeof *replay);
    replay->allocator = allocator;
    replay->convention = convention;
    replay->trace = trace;
    replay->verify_every = verify_every;
    replay->random = seed | 1; /* xorshift stays at 0 */
    ft_tally_init(&replay->settled, allocator);
}

static void
free_block(ft_allocator allocator, void *block)
{
    if (block != NULL) {
        allocator.resize(allocator.context, block, 0);
    }
}

static void
clear_group(ft_allocator allocator, ft_step_group *group)
{
    for (size_t i = 0; i < group->kind_count; i++) {
        ft_tally_clear(&group->kinds[i].profile);
    }
    free_block(allocator, group->kinds);
}

void
ft_replay_clear(ft_replay *replay)
{
    for (size_t i = 0; i < replay->group_count; i++) {
        clear_group(replay->allocator, &replay->groups[i]);
    }
    free_block(replay->allocator, replay->groups);
    ft_tally_clear(&replay->settled);
    replay->groups = NULL;
    replay->group_count = replay->group_capacity = 0;
    memset(replay->slots, 0, sizeof replay->slots);
}

/* From 0 to 2*verify_every - 2, so that no period of the program's hides from the audits. */
static uint64_t
draw_audit(ft_replay *replay)
{
    replay->random ^= replay->random << 13;
    replay->random ^= replay->random >> 7;
    replay->random ^= replay->random << 17;
    return replay->random % (2 * replay->verify_every - 1);
}

/* ---- groups and kinds ---- */

/* The slot that holds the key, or the free one where it belongs. */
static size_t
slot_of(const ft_replay *replay, ft_step_key key)
{
    size_t mask = 2 * FT_MAX_GROUPS - 1, at = (size_t)(key.low ^ key.high) & mask;
    while (replay->slots[at] != 0) {
        const ft_step_group *group = &replay->groups[replay->slots[at] - 1];
        if (group->key.low == key.low && group->key.high == key.high) {
            break;
        }
        at = (at + 1) & mask;
    }
    return at;
}

static ft_step_group *
find_group(const ft_replay *replay, ft_step_key key)
{
    uint32_t number = replay->slots[slot_of(replay, key)];
    return number == 0 ? NULL : &replay->groups[number - 1];
}

/* What was taken of the group that was used longest ago is settled, and its place free. Steps that
 * wait in it stay unattributed. */
static ft_status
drop_oldest(ft_replay *replay)
{
    size_t oldest = 0;
    for (size_t i = 1; i < replay->group_count; i++) {
        oldest = replay->groups[i].used < replay->groups[oldest].used ? i : oldest;
    }
    ft_step_group *group = &replay->groups[oldest];
    for (size_t i = 0; i < group->kind_count; i++) {
        ft_step_kind *kind = &group->kinds[i];
        ft_status status = ft_tally_merge(&replay->settled, &kind->profile, kind->taken);
        if (status != FT_OK) {
            return status;
        }
        kind->taken = 0; /* a second try does not add it again */
    }
    clear_group(replay->allocator, group);
    *group = replay->groups[--replay->group_count];
    memset(replay->slots, 0, sizeof replay->slots);
    for (size_t i = 0; i < replay->group_count; i++) {
        replay->slots[slot_of(replay, replay->groups[i].key)] = (uint32_t)i + 1;
    }
    return FT_OK;
}

static ft_status
find_or_add_group(ft_replay *replay, ft_step_key key, ft_step_group **group)
{
    ft_status status = FT_OK;
    *group = find_group(replay, key);
    if (*group != NULL) {
        return FT_OK;
    }
    if (replay->group_count == FT_MAX_GROUPS && (status = drop_oldest(replay)) != FT_OK) {
        return status;
    }
    if (replay->group_count == replay->group_capacity) {
        size_t capacity = replay->group_capacity == 0 ? 8 : 2 * replay->group_capacity;
        ft_step_group *groups = replay->allocator.resize(replay->allocator.context, replay->groups,
                                                         capacity * sizeof *replay->groups);
        if (groups == NULL) {
            return FT_NO_MEMORY;
        }
        replay->groups = groups;
        replay->group_capacity = capacity;
    }
    size_t slot = slot_of(replay, key);
    replay->slots[slot] = (uint32_t)++replay->group_count;
    *group = &replay->groups[replay->group_count - 1];
    **group = (ft_step_group){.key = key};
    return FT_OK;
}

static ft_status
add_kind(ft_replay *replay, ft_step_group *group, uint64_t advance, ft_step_kind **kind)
{
    if (group->kind_count == group->kind_capacity) {
        size_t capacity = group->kind_capacity == 0 ? 2 : 2 * group->kind_capacity;
        ft_step_kind *kinds = replay->allocator.resize(replay->allocator.context, group->kinds,
                                                       capacity * sizeof *kinds);
        if (kinds == NULL) {
            return FT_NO_MEMORY;
        }
        group->kinds = kinds;
        group->kind_capacity = capacity;
    }
    *kind = &group->kinds[group->kind_count++];
    **kind = (ft_step_kind){.advance = advance};
    ft_tally_init(&(*kind)->profile, replay->allocator);
    return FT_OK;
}

/* The kind of a counted step; NULL where there is none yet. */
static ft_step_kind *
counted_kind(const ft_step_group *group, uint64_t advance)
{
    for (size_t i = 0; i < group->kind_count; i++) {
        if (group->kinds[i].advance == advance) {
            return &group->kinds[i];
        }
    }
    return NULL;
}

/* The kind of a step that was not counted. Compiled code makes other nodes than the same code did
 * when it was counted: the first such step stands for the kind that was counted just before. */
static ft_step_kind *
unseen_kind(ft_step_group *group, uint64_t advance)
{
    if (!group->compiled) {
        return counted_kind(group, advance);
    }
    for (size_t i = 0; i < group->kind_count; i++) {
        ft_step_kind *kind = &group->kinds[i];
        if (kind->known && kind->has_unseen && kind->advance_unseen == advance) {
            return kind;
        }
    }
    for (size_t i = 0; i < group->kind_count; i++) {
        if (!group->kinds[i].known && group->kinds[i].advance == advance) {
            return &group->kinds[i];
        }
    }
    if (group->streak >= STREAK_OF_COMPILED && !group->kinds[group->last_counted].has_unseen) {
        ft_step_kind *kind = &group->kinds[group->last_counted];
        kind->has_unseen = true;
        kind->advance_unseen = advance;
        return kind;
    }
    return NULL;
}

/* ---- steps ---- */

bool
ft_replay_wants(const ft_replay *replay, ft_step_key key)
{
    const ft_step_group *group = find_group(replay, key);
    if (replay->trace == FT_TRACE_ALWAYS || group == NULL || group->streak == 0 || group->varies) {
        return true;
    }
    if (group->waiting > 0 && !(group->compiled && group->futile >= MAX_FUTILE)) {
        return true;
    }
    if (group->compiled && group->streak < STREAK_OF_COMPILED) {
        return true;
    }
    return replay->trace == FT_TRACE_AUTO && group->until_audit == 0;
}

static void
note_counted(ft_replay *replay, ft_step_group *group, size_t kind)
{
    bool again = group->streak > 0 && group->last_counted == kind;
    group->streak = again ? group->streak + 1 : 1;
    group->last_counted = kind;
    group->until_audit = draw_audit(replay);
    group->used = ++replay->counted + replay->taken + replay->waiting + replay->lost;
}

/* Where steps are counted as of one kind again and again, and run compiled in between, the only
 * kind that waits is what that one looks like when it is not counted. */
static void
explain_waiting(ft_step_group *group, ft_step_kind *kind)
{
    ft_step_kind *waits = NULL;
    for (size_t i = 0; i < group->kind_count; i++) {
        ft_step_kind *other = &group->kinds[i];
        if (other != kind && (other->known || (other->waiting > 0 && waits != NULL))) {
            return;
        }
        waits = other != kind && other->waiting > 0 ? other : waits;
    }
    if (waits != NULL) { /* also another one than before: the step that compiles makes more nodes */
        kind->has_unseen = true;
        kind->advance_unseen = waits->advance;
        kind->waiting += waits->waiting;
        waits->waiting = 0;
    }
}

/* Room has been made for all rows. */
static void
replace_profile(ft_replay *replay, ft_step_kind *kind, ft_tally *work)
{
    ft_tally_merge(&replay->settled, &kind->profile, kind->taken);
    ft_tally_clear(&kind->profile);
    kind->profile = *work;
    kind->taken = 0;
    kind->known = true;
    ft_tally_init(work, replay->allocator);
}

ft_status
ft_replay_count(ft_replay *replay, ft_step_key key, uint64_t advance, bool compiled, ft_tally *work,
                ft_counted_step *result)
{
    ft_step_group *group = NULL;
    ft_status status = find_or_add_group(replay, key, &group);
    ft_step_kind *kind = status == FT_OK ? counted_kind(group, advance) : NULL;
    if (status == FT_OK && kind == NULL) {
        status = add_kind(replay, group, advance, &kind);
    }
    if (status == FT_OK) {
        status = ft_tally_reserve_for(&replay->settled, &kind->profile);
    }
    if (status == FT_OK) { /* the profile's rows too, where it is replaced */
        ft_tally both = *work;
        both.count += kind->profile.count;
        status = ft_tally_reserve_for(&replay->settled, &both);
    }
    if (status != FT_OK) {
        return status;
    }
    *result = (ft_counted_step){.flops = ft_tally_total(work, replay->convention)};
    result->before = kind->known ? kind->flops : result->flops;
    result->differs = kind->known && !ft_tally_equal(&kind->profile, work);
    ft_tally_merge(&replay->settled, work, 1);
    if (!kind->known || result->differs) {
        replace_profile(replay, kind, work);
        kind->flops = result->flops;
    }
    ft_tally_clear(work);
    if (result->differs && ++group->differing == FT_MAX_DIFFERING) {
        group->varies = result->began_to_vary = true;
    }
    note_counted(replay, group, (size_t)(kind - group->kinds));
    group->compiled = group->compiled || compiled;
    if (group->compiled && group->streak >= STREAK_OF_COMPILED) {
        explain_waiting(group, kind);
    }
    group->futile = group->waiting > 0 && kind->waiting == 0 ? group->futile + 1 : 0;
    result->resolved = kind->waiting;
    kind->taken += kind->waiting;
    group->waiting -= kind->waiting;
    replay->waiting -= kind->waiting;
    replay->taken += kind->waiting;
    kind->waiting = 0;
    return FT_OK;
}

ft_status
ft_replay_take(ft_replay *replay, ft_step_key key, uint64_t advance, bool *known, ft_u128 *flops)
{
    ft_step_group *group = NULL;
    ft_status status = find_or_add_group(replay, key, &group);
    ft_step_kind *kind = status == FT_OK ? unseen_kind(group, advance) : NULL;
    if (status == FT_OK && kind == NULL) {
        status = add_kind(replay, group, advance, &kind);
    }
    if (status != FT_OK) {
        return status;
    }
    *known = kind->known;
    *flops = kind->known ? kind->flops : FT_U128_ZERO;
    if (kind->known) {
        kind->taken++;
        replay->taken++;
    }
    else {
        kind->waiting++;
        group->waiting++;
        replay->waiting++;
    }
    group->until_audit -= group->until_audit > 0;
    group->used = replay->counted + replay->taken + replay->waiting + replay->lost;
    return FT_OK;
}

bool
ft_replay_known(const ft_replay *replay, ft_step_key key, uint64_t advance, ft_u128 *flops)
{
    const ft_step_group *group = find_group(replay, key);
    for (size_t i = 0; group != NULL && i < group->kind_count; i++) {
        const ft_step_kind *kind = &group->kinds[i];
        bool same =
            kind->advance == advance || (kind->has_unseen && kind->advance_unseen == advance);
        if (kind->known && same) {
            *flops = kind->flops;
            return true;
        }
    }
    return false;
}

void
ft_replay_abandon(ft_replay *replay)
{
    for (size_t i = 0; i < replay->group_count; i++) {
        ft_step_group *group = &replay->groups[i];
        for (size_t j = 0; j < group->kind_count; j++) {
            group->kinds[j].waiting = 0;
        }
        group->waiting = group->futile = 0;
    }
    replay->lost += replay->waiting;
    replay->waiting = 0;
}

ft_status
ft_replay_sum(const ft_replay *replay, ft_tally *sum)
{
    ft_status status = ft_tally_merge(sum, &replay->settled, 1);
    for (size_t i = 0; i < replay->group_count; i++) {
        const ft_step_group *group = &replay->groups[i];
        for (size_t j = 0; j < group->kind_count && status == FT_OK; j++) {
            status = ft_tally_merge(sum, &group->kinds[j].profile, group->kinds[j].taken);
        }
    }
    return status;
}
