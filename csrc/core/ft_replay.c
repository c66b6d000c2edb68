/* Which steps are counted, and what the others cost. */
/* SPDX-License-Identifier: MIT */
#include "ft_replay_kinds.h"

#include <string.h>

/* Audits in a row that differ before all steps are counted; counted steps in vain before the search
 * for a wanted kind is given up. */
enum { MAX_DOUBTS = 2, MAX_FUTILE = 64 };

/* How often a compiled kind has to be met, among how many steps, to be sure that it looks like
 * another one. */
enum { MET = 3, SEEN = 16 };

/* So many steps of no known kind, and one of that many that are known, and all are counted. */
enum { MANY_SURPRISES = 10, SURPRISING_SHARE = 8 };

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

void
ft_replay_clear(ft_replay *replay)
{
    for (size_t i = 0; i < replay->group_count; i++) {
        ft_kinds_clear(replay->allocator, &replay->groups[i]);
    }
    ft_free(replay->allocator, replay->groups);
    ft_tally_clear(&replay->settled);
    replay->groups = NULL;
    replay->group_count = replay->group_capacity = 0;
    memset(replay->slots, 0, sizeof replay->slots);
}

/* The gap doubles up to verify_every. The audit comes somewhere around its end, so that no period
 * of the program's hides from it. */
static void
plan_audit(ft_replay *replay, ft_step_group *group)
{
    uint64_t gap = group->gap == 0 ? 1 : 2 * group->gap;
    group->gap = gap < replay->verify_every ? gap : replay->verify_every;
    replay->random ^= replay->random << 13;
    replay->random ^= replay->random >> 7;
    replay->random ^= replay->random << 17;
    group->until_audit = group->gap / 2 + replay->random % group->gap;
}

/* ---- steps ---- */

/* Whether a step that comes now is counted to find what is wanted. Once that was given up, it is
 * where a wanted kind is due, if it comes as regularly as it did. */
static bool
is_searching(const ft_step_group *group)
{
    bool given_up = group->futile >= MAX_FUTILE, searching = false;
    for (size_t i = 0; i < group->kind_count && !searching; i++) {
        const ft_step_kind *kind = &group->kinds[i];
        bool due = kind->gap > 0 && group->steps + 1 == kind->last + kind->gap;
        searching = kind->wanted && (given_up ? due : !ft_kinds_watches(group, kind));
    }
    return searching;
}

/* The first steps are counted, whatever they are; none of them is an audit. */
static bool
warms_up(const ft_replay *replay)
{
    return replay->trace == FT_TRACE_AUTO && replay->counted < FT_WARM_UP;
}

/* So many steps that waited have a profile now. */
static void
note_resolved(ft_replay *replay, uint64_t resolved)
{
    replay->waiting -= resolved;
    replay->taken += resolved;
}

bool
ft_replay_wants(const ft_replay *replay, ft_step_key key)
{
    const ft_step_group *group = ft_kinds_group(replay, key);
    if (replay->trace == FT_TRACE_ALWAYS || warms_up(replay) || replay->varies || group == NULL ||
        group->gap == 0 || group->varies) {
        return true;
    }
    return is_searching(group) || (replay->trace == FT_TRACE_AUTO && group->until_audit == 0);
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
    kind->wanted = false;
    ft_tally_init(work, replay->allocator);
}

/* Makes room for the step's work, and for the profile's where it is replaced. */
static ft_status
make_room(ft_replay *replay, const ft_step_kind *kind, const ft_tally *work)
{
    ft_status status = ft_tally_reserve_for(&replay->settled, &kind->profile);
    if (status == FT_OK) {
        ft_tally both = *work;
        both.count += kind->profile.count;
        status = ft_tally_reserve_for(&replay->settled, &both);
    }
    return status;
}

static void
note_counted(ft_replay *replay, ft_step_group *group, ft_step_traits traits,
             ft_counted_step *result)
{
    bool varied = group->varies || replay->varies;
    result->differs = result->differs && !varied;
    if (result->differs) {
        group->gap = 0; /* look closer */
        group->doubts++;
    }
    else if (group->gap > MAX_DOUBTS) {
        group->doubts = 0;
    }
    group->varies =
        varied || traits.varies || group->doubts >= MAX_DOUBTS || group->kind_count > FT_MAX_KINDS;
    result->varies = group->varies && !varied;
    if (group->gap == 0 || (group->until_audit == 0 && !warms_up(replay))) {
        plan_audit(replay, group);
    }
    replay->counted++;
    group->steps++;
    group->used = replay->counted + replay->taken + replay->waiting + replay->lost;
}

/* Steps of a compiled kind whose look was never seen may have been taken for those of another kind.
 * Sure that they were is who meets it again and again; that it is to be said, who should have seen
 * it five times by how often it was met. */
static void
mind_look(ft_step_group *group, ft_step_kind *kind, uint64_t counted, ft_counted_step *result)
{
    const ft_step_kind *other = kind->met == 0 ? NULL : ft_kinds_mistaken(group, kind);
    if (other == NULL) {
        return;
    }
    bool sure = kind->met >= MET && group->uncounted - kind->first >= SEEN;
    bool likely = !kind->doubted && group->uncounted * kind->met >= 5 * counted;
    if (sure || likely) {
        result->differs = kind->doubted = true;
        result->found = kind->flops;
        result->before = other->flops;
    }
    group->doubts = sure ? MAX_DOUBTS : group->doubts;
}

static void
mind_looks(const ft_replay *replay, ft_step_group *group, ft_step_kind *kind,
           ft_counted_step *result)
{
    if (warms_up(replay)) {
        return;
    }
    kind->first = kind->met == 0 ? group->uncounted : kind->first;
    kind->met++;
    if (kind->met == 1 && ft_kinds_mistaken(group, kind) != NULL) {
        group->gap = 0; /* look closer */
    }
    for (size_t i = 0; i < group->kind_count; i++) {
        mind_look(group, &group->kinds[i], group->steps - group->uncounted + 1, result);
    }
}

ft_status
ft_replay_count(ft_replay *replay, ft_step_key key, ft_step_sign sign, ft_step_traits traits,
                ft_tally *work, ft_counted_step *result)
{
    ft_step_group *group = NULL;
    ft_step_kind *kind = NULL;
    ft_status status = ft_kinds_add_group(replay, key, &group);
    if (status == FT_OK) {
        status = ft_kinds_add(replay, group, sign, true, traits.compiled, &kind);
    }
    if (status == FT_OK) {
        status = make_room(replay, kind, work);
    }
    if (status != FT_OK) {
        return status;
    }
    bool was_wanted = kind->wanted;
    *result = (ft_counted_step){.flops = ft_tally_total(work, replay->convention)};
    result->found = result->flops;
    result->before = kind->known ? kind->flops : result->flops;
    bool changed = kind->known && !ft_tally_equal(&kind->profile, work);
    result->differs = changed && !ft_tally_same_work(&kind->profile, work);
    ft_step_kind *mistaken = kind->known ? NULL : ft_kinds_drop_look(group, sign);
    if (mistaken != NULL) {
        result->differs = mistaken->taken > 0;
        result->before = mistaken->flops;
    }
    ft_tally_merge(&replay->settled, work, 1);
    if (!kind->known || changed) {
        replace_profile(replay, kind, work);
        kind->flops = result->flops;
    }
    kind->compiled = traits.compiled;
    kind->counted++;
    ft_tally_clear(work);
    mind_looks(replay, group, kind, result);
    group->futile = was_wanted ? 0 : group->futile + is_searching(group);
    note_counted(replay, group, traits, result);
    if (!group->varies) { /* else no step stands for another one */
        result->resolved = kind->waiting;
        kind->taken += kind->waiting;
        kind->waiting = 0;
        result->resolved += ft_kinds_resolve_elsewhere(replay, group, kind);
        result->resolved += ft_kinds_match(group, group->futile < MAX_FUTILE);
        note_resolved(replay, result->resolved);
        group->varies = group->futile >= MAX_FUTILE && ft_kinds_undecided(group);
        result->varies = group->varies;
    }
    return FT_OK;
}

/* Of a kind that is not known. */
static void
wait(ft_replay *replay, ft_step_group *group, ft_step_kind *kind)
{
    if (!kind->wanted) {
        bool looking = group->futile < MAX_FUTILE && ft_kinds_wanted(group);
        if (!looking) {
            ft_kinds_begin_search(group);
        }
        group->futile = 0;
    }
    kind->gap = kind->wanted ? group->steps - kind->last : 0;
    kind->last = group->steps;
    kind->wanted = true;
    kind->waiting++;
    replay->waiting++;
    if (!ft_kinds_watches(group, kind)) {
        replay->surprises++;
        replay->varies = replay->varies || (replay->surprises >= MANY_SURPRISES &&
                                            replay->surprises > replay->taken / SURPRISING_SHARE);
    }
}

static void
match(ft_replay *replay, ft_step_group *group, ft_step_sign sign, ft_taken_step *result)
{
    result->resolved = ft_kinds_match(group, group->futile < MAX_FUTILE);
    note_resolved(replay, result->resolved);
    const ft_step_kind *kind = result->resolved == 0 ? NULL : ft_kinds_find(group, sign);
    if (kind != NULL && !result->known) { /* it is among those */
        result->resolved--;
        result->known = true;
        result->flops = kind->flops;
    }
}

ft_status
ft_replay_take(ft_replay *replay, ft_step_key key, ft_step_sign sign, ft_taken_step *result)
{
    ft_step_group *group = NULL;
    ft_step_kind *kind = NULL;
    ft_status status = ft_kinds_add_group(replay, key, &group);
    if (status == FT_OK) {
        kind = ft_kinds_find(group, sign);
        if (kind != NULL && !kind->has_look) { /* it looks as it was counted, from now on */
            kind->look = sign;
            kind->has_look = true;
        }
        kind = kind == NULL ? ft_kinds_elsewhere(replay, group, sign) : kind;
    }
    if (status == FT_OK && kind == NULL) {
        status = ft_kinds_add(replay, group, sign, false, false, &kind);
    }
    if (status != FT_OK) {
        return status;
    }
    *result = (ft_taken_step){.known = kind->known, .flops = kind->flops};
    group->steps++;
    group->uncounted++;
    if (kind->known) {
        kind->taken++;
        replay->taken++;
    }
    else {
        wait(replay, group, kind);
    }
    kind->seen++;
    match(replay, group, sign, result);
    group->until_audit -= group->until_audit > 0;
    group->used = replay->counted + replay->taken + replay->waiting + replay->lost;
    return FT_OK;
}

static const ft_step_kind *
find_known(const ft_replay *replay, ft_step_key key, ft_step_sign sign)
{
    const ft_step_group *group = ft_kinds_group(replay, key);
    const ft_step_kind *kind = group == NULL ? NULL : ft_kinds_find(group, sign);
    return kind == NULL && group != NULL ? ft_kinds_elsewhere(replay, group, sign) : kind;
}

bool
ft_replay_known(const ft_replay *replay, ft_step_key key, ft_step_sign sign, ft_u128 *flops)
{
    const ft_step_kind *kind = find_known(replay, key, sign);
    *flops = kind == NULL ? *flops : kind->flops;
    return kind != NULL;
}

const ft_tally *
ft_replay_profile(const ft_replay *replay, ft_step_key key, ft_step_sign sign)
{
    const ft_step_kind *kind = find_known(replay, key, sign);
    return kind == NULL ? NULL : &kind->profile;
}

ft_status
ft_replay_settle(ft_replay *replay, ft_tally *work)
{
    ft_status status = ft_tally_merge(&replay->settled, work, 1);
    if (status == FT_OK) {
        ft_tally_clear(work);
    }
    return status;
}

uint64_t
ft_replay_decide(ft_replay *replay)
{
    uint64_t resolved = 0;
    for (size_t i = 0; i < replay->group_count; i++) {
        resolved += ft_kinds_match_last(&replay->groups[i]);
    }
    note_resolved(replay, resolved);
    return resolved;
}

/* They stay wanted: what comes at the end of each epoch is found in the next one. */
void
ft_replay_abandon(ft_replay *replay)
{
    for (size_t i = 0; i < replay->group_count; i++) {
        ft_step_group *group = &replay->groups[i];
        for (size_t j = 0; j < group->kind_count; j++) {
            group->kinds[j].waiting = 0;
        }
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
