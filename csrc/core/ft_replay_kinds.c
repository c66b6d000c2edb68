/* Groups of steps with one key behind a hash index, and how the kinds in them are known. */
/* SPDX-License-Identifier: MIT */
#include "ft_replay_kinds.h"

#include <string.h>

void
ft_kinds_clear(ft_allocator allocator, ft_step_group *group)
{
    for (size_t i = 0; i < group->kind_count; i++) {
        ft_tally_clear(&group->kinds[i].profile);
    }
    ft_free(allocator, group->kinds);
}

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

ft_step_group *
ft_kinds_group(const ft_replay *replay, ft_step_key key)
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
    ft_kinds_clear(replay->allocator, group);
    *group = replay->groups[--replay->group_count];
    memset(replay->slots, 0, sizeof replay->slots);
    for (size_t i = 0; i < replay->group_count; i++) {
        replay->slots[slot_of(replay, replay->groups[i].key)] = (uint32_t)i + 1;
    }
    return FT_OK;
}

ft_status
ft_kinds_add_group(ft_replay *replay, ft_step_key key, ft_step_group **group)
{
    ft_status status = FT_OK;
    *group = ft_kinds_group(replay, key);
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

static bool
same_sign(ft_step_sign a, ft_step_sign b)
{
    return a.advance == b.advance && a.rest == b.rest && a.fine == b.fine;
}

/* Compiled, the sign of steps that are counted is that of no others. */
static ft_step_kind *
find_kind(const ft_step_group *group, ft_step_sign sign, bool as_counted)
{
    for (size_t i = 0; i < group->kind_count; i++) {
        ft_step_kind *kind = &group->kinds[i];
        if (same_sign(kind->sign, sign) && (as_counted ? kind->known : !kind->compiled)) {
            return kind;
        }
    }
    return NULL;
}

ft_status
ft_kinds_add(ft_replay *replay, ft_step_group *group, ft_step_sign sign, bool counted,
             bool compiled, ft_step_kind **kind)
{
    *kind = counted ? find_kind(group, sign, true) : NULL;
    if (*kind == NULL && !compiled) {
        *kind = find_kind(group, sign, false);
    }
    if (*kind != NULL) {
        return FT_OK;
    }
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
    **kind = (ft_step_kind){.sign = sign, .compiled = compiled};
    ft_tally_init(&(*kind)->profile, replay->allocator);
    return FT_OK;
}

/* ---- the same kind behind another key ---- */

/* NULL where it is not of the same base, or has no such kind. */
static ft_step_kind *
find_elsewhere(const ft_step_group *other, const ft_step_group *group, ft_step_sign sign)
{
    bool related = other != group && other->key.base == group->key.base && sign.fresh;
    ft_step_kind *kind = related ? find_kind(other, sign, false) : NULL;
    return kind != NULL && kind->sign.fresh ? kind : NULL;
}

ft_step_kind *
ft_kinds_elsewhere(const ft_replay *replay, const ft_step_group *group, ft_step_sign sign)
{
    ft_step_kind *kind = NULL;
    for (size_t i = 0; i < replay->group_count && (kind == NULL || !kind->known); i++) {
        kind = find_elsewhere(&replay->groups[i], group, sign);
    }
    return kind != NULL && kind->known ? kind : NULL;
}

uint64_t
ft_kinds_resolve_elsewhere(const ft_replay *replay, const ft_step_group *group, ft_step_kind *kind)
{
    uint64_t resolved = 0;
    for (size_t i = 0; i < replay->group_count; i++) {
        ft_step_kind *other = find_elsewhere(&replay->groups[i], group, kind->sign);
        if (other != NULL) {
            resolved += other->waiting;
            other->waiting = 0;
            other->wanted = false;
        }
    }
    kind->taken += resolved;
    return resolved;
}

ft_step_kind *
ft_kinds_find(const ft_step_group *group, ft_step_sign sign)
{
    for (size_t i = 0; i < group->kind_count; i++) {
        ft_step_kind *kind = &group->kinds[i];
        if (kind->known && kind->has_look && same_sign(kind->look, sign)) {
            return kind;
        }
    }
    ft_step_kind *kind = find_kind(group, sign, false);
    return kind != NULL && kind->known ? kind : NULL;
}

/* A counted step that is what another kind was taken to look like; compiled, it is no such thing.
 */
ft_step_kind *
ft_kinds_drop_look(const ft_step_group *group, ft_step_sign sign)
{
    for (size_t i = 0; i < group->kind_count; i++) {
        ft_step_kind *kind = &group->kinds[i];
        if (kind->has_look && !kind->compiled && same_sign(kind->look, sign) &&
            !same_sign(kind->sign, sign)) {
            kind->has_look = false;
            return kind;
        }
    }
    return NULL;
}
