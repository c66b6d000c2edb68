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

static ft_step_kind *
find_kind(const ft_step_group *group, ft_step_sign sign)
{
    for (size_t i = 0; i < group->kind_count; i++) {
        if (same_sign(group->kinds[i].sign, sign)) {
            return &group->kinds[i];
        }
    }
    return NULL;
}

ft_status
ft_kinds_add(ft_replay *replay, ft_step_group *group, ft_step_sign sign, ft_step_kind **kind)
{
    *kind = find_kind(group, sign);
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
    **kind = (ft_step_kind){.sign = sign};
    ft_tally_init(&(*kind)->profile, replay->allocator);
    return FT_OK;
}

/* ---- looks: where counting itself changes the sign ---- */

/* Compiled code makes other nodes than the same code does when it is counted; what is changed in
 * place by a list of tensors, or by backward, may have other versions. */
static bool
may_look(const ft_step_kind *kind, ft_step_sign sign)
{
    return kind->known && kind->look_count == 0 && kind->sign.rest == sign.rest &&
           (kind->compiled || kind->sign.advance == sign.advance);
}

static int
find_look(const ft_step_kind *kind, ft_step_sign sign)
{
    int at = kind->look_count - 1;
    while (at >= 0 && !same_sign(kind->looks[at], sign)) {
        at--;
    }
    return at;
}

static void
add_look(ft_step_kind *kind, ft_step_sign sign)
{
    if (kind->look_count < FT_MAX_LOOKS) {
        kind->looks[kind->look_count++] = sign;
    }
}

/* The known kind of a step that was not counted; else NULL. Once it looked like a counted one, it
 * always does. */
ft_step_kind *
ft_kinds_uncounted(const ft_step_group *group, ft_step_sign sign)
{
    ft_step_kind *kind = find_kind(group, sign);
    if (kind != NULL && kind->known) {
        if (kind->look_count == 0) {
            add_look(kind, sign);
        }
        return kind;
    }
    for (size_t i = 0; i < group->kind_count; i++) {
        if (group->kinds[i].known && find_look(&group->kinds[i], sign) >= 0) {
            return &group->kinds[i];
        }
    }
    return NULL;
}

/* Whether what waits may be a look of this known kind, and of no other. */
static bool
is_candidate(const ft_step_group *group, const ft_step_kind *kind, const ft_step_kind *wanted)
{
    bool only = wanted->wanted && !wanted->own && may_look(kind, wanted->sign);
    for (size_t i = 0; i < group->kind_count && only; i++) {
        only = &group->kinds[i] == kind || !may_look(&group->kinds[i], wanted->sign);
    }
    return only;
}

bool
ft_kinds_test(ft_step_group *group, const ft_step_kind *kind)
{
    bool found = false;
    for (size_t i = 0; i < group->kind_count; i++) {
        group->kinds[i].seen = 0;
        found = found || is_candidate(group, kind, &group->kinds[i]);
    }
    return found;
}

static uint64_t
adopt(ft_step_kind *kind, ft_step_kind *wanted)
{
    uint64_t explained = wanted->waiting;
    add_look(kind, wanted->sign);
    kind->taken += explained;
    wanted->waiting = 0;
    wanted->wanted = false;
    return explained;
}

/* The kind looks as it was counted: what waits comes now and then. */
static void
end_test(ft_step_group *group, const ft_step_kind *kind)
{
    group->tests = 0;
    for (size_t i = 0; i < group->kind_count; i++) {
        ft_step_kind *wanted = &group->kinds[i];
        wanted->own = wanted->own || is_candidate(group, kind, wanted);
    }
}

uint64_t
ft_kinds_tested(ft_step_group *group, ft_step_sign sign)
{
    ft_step_kind *kind = &group->kinds[group->tested], *seen = find_kind(group, sign);
    bool may_be = seen != NULL && is_candidate(group, kind, seen);
    if (--group->tests == 0 || seen == kind) {
        end_test(group, kind);
        return 0;
    }
    if (!may_be || ++seen->seen < 2) {
        return 0;
    }
    group->tests = 0;
    return adopt(kind, seen);
}

/* A counted step that is what another kind was taken to look like. */
ft_step_kind *
ft_kinds_drop_look(const ft_step_group *group, ft_step_sign sign)
{
    for (size_t i = 0; i < group->kind_count; i++) {
        ft_step_kind *kind = &group->kinds[i];
        int at = find_look(kind, sign);
        if (at >= 0 && !same_sign(kind->sign, sign)) {
            kind->looks[at] = kind->looks[--kind->look_count];
            return kind;
        }
    }
    return NULL;
}

bool
ft_kinds_is(const ft_step_kind *kind, ft_step_sign sign)
{
    return same_sign(kind->sign, sign) || find_look(kind, sign) >= 0;
}
