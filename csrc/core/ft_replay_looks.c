/* How steps of a kind look that are not counted, where counting itself changes what they leave. */
/* SPDX-License-Identifier: MIT */
#include "ft_replay_kinds.h"

/* So many steps are watched, and so many counted, before a look is taken to be that of a kind. */
enum { WATCHED = 4, COUNTED = 3, WATCHED_COMPILED = 8, MANY = 16 };

/* Compiled code makes other nodes than the same code does when it is counted; what is changed in
 * place by a list of tensors, or by backward, may have other versions. */
static bool
may_look(const ft_step_kind *kind, ft_step_sign sign)
{
    return kind->known && kind->sign.rest == sign.rest &&
           (kind->compiled || kind->sign.advance == sign.advance);
}

/* Kinds that may look like each other. */
typedef struct {
    ft_step_sign sign;
    bool compiled; /* one of them is: then their nodes say nothing */
} family;

static family
family_of(const ft_step_group *group, const ft_step_kind *wanted)
{
    family alike = {.sign = wanted->sign};
    for (size_t i = 0; i < group->kind_count; i++) {
        const ft_step_kind *kind = &group->kinds[i];
        alike.compiled = alike.compiled || (kind->compiled && may_look(kind, wanted->sign));
    }
    return alike;
}

static bool
is_in(const family *alike, const ft_step_kind *kind)
{
    return kind->sign.rest == alike->sign.rest &&
           (alike->compiled || kind->sign.advance == alike->sign.advance);
}

/* Whether it is not known yet how it looks, or that has changed: it was compiled anew. */
static bool
is_free(const ft_step_kind *kind)
{
    return kind->known && (!kind->has_look || kind->seen == 0);
}

typedef struct {
    uint64_t counted, seen;
    size_t known, free, wanted; /* kinds; those that look like nothing yet; looks without a kind */
    uint64_t watched;           /* as many as have to be seen */
} how_often;

static how_often
count_alike(const ft_step_group *group, const family *alike)
{
    how_often sum = {.watched = WATCHED};
    for (size_t i = 0; i < group->kind_count; i++) {
        const ft_step_kind *kind = &group->kinds[i];
        if (is_in(alike, kind)) {
            sum.counted += kind->counted;
            sum.seen += kind->seen;
            sum.known += kind->known;
            sum.free += kind->known && !kind->has_look && kind->counted > 0;
            sum.wanted += kind->wanted;
            sum.watched = kind->compiled ? WATCHED_COMPILED : sum.watched;
        }
    }
    return sum;
}

bool
ft_kinds_watches(const ft_step_group *group, const ft_step_kind *wanted)
{
    bool maybe = false;
    for (size_t i = 0; i < group->kind_count; i++) {
        const ft_step_kind *kind = &group->kinds[i];
        maybe = maybe || (is_free(kind) && may_look(kind, wanted->sign));
    }
    family alike = family_of(group, wanted);
    how_often all = count_alike(group, &alike);
    return maybe && all.seen < all.watched;
}

bool
ft_kinds_wanted(const ft_step_group *group)
{
    bool wanted = false;
    for (size_t i = 0; i < group->kind_count; i++) {
        wanted = wanted || group->kinds[i].wanted;
    }
    return wanted;
}

void
ft_kinds_begin_search(ft_step_group *group)
{
    group->futile = 0;
    for (size_t i = 0; i < group->kind_count; i++) {
        group->kinds[i].counted = group->kinds[i].seen = 0;
    }
}

static uint64_t
adopt(ft_step_kind *kind, ft_step_kind *wanted)
{
    uint64_t explained = wanted->waiting;
    kind->look = wanted->sign;
    kind->has_look = true;
    kind->taken += explained;
    kind->seen += wanted->seen;
    wanted->waiting = wanted->seen = 0;
    wanted->wanted = false;
    return explained;
}

/* What comes nearly always looks like what is counted nearly always. */
static ft_step_kind *
find_common(const ft_step_group *group, const ft_step_kind *wanted, how_often all)
{
    for (size_t i = 0; i < group->kind_count; i++) {
        ft_step_kind *kind = &group->kinds[i];
        bool alone = all.known == 1;
        bool enough =
            kind->compiled ? alone || all.counted >= MANY : alone && wanted->seen == all.seen;
        if (enough && 4 * wanted->seen >= 3 * all.seen && 4 * kind->counted >= 3 * all.counted &&
            may_look(kind, wanted->sign)) {
            return kind;
        }
    }
    return NULL;
}

/* In the order of their advance. */
typedef struct {
    ft_step_kind *items[FT_MAX_KINDS];
    size_t count;
} kinds_in_order;

static void
insert(kinds_in_order *list, ft_step_kind *kind)
{
    size_t at = list->count++;
    for (; at > 0 && list->items[at - 1]->sign.advance > kind->sign.advance; at--) {
        list->items[at] = list->items[at - 1];
    }
    list->items[at] = kind;
}

static bool
in_order(const ft_step_group *group, const family *alike, const kinds_in_order *kinds,
         const kinds_in_order *wanted)
{
    for (size_t i = 0; i < kinds->count; i++) {
        uint64_t advance = kinds->items[i]->sign.advance, look = wanted->items[i]->sign.advance;
        if (i > 0 && (kinds->items[i - 1]->sign.advance == advance ||
                      wanted->items[i - 1]->sign.advance == look)) {
            return false;
        }
        for (size_t j = 0; j < group->kind_count; j++) {
            const ft_step_kind *known = &group->kinds[j];
            if (known->known && known->has_look && is_in(alike, known) &&
                (known->sign.advance < advance) != (known->look.advance < look)) {
                return false;
            }
        }
    }
    return true;
}

/* Versions that no two kinds have in common, and that are those of the looks. */
static bool
by_versions(const kinds_in_order *kinds, kinds_in_order *looks)
{
    kinds_in_order found = {.count = 0};
    for (size_t i = 0; i < kinds->count; i++) {
        size_t same_kinds = 0, same_looks = 0;
        for (size_t j = 0; j < kinds->count; j++) {
            same_kinds += kinds->items[j]->sign.fine == kinds->items[i]->sign.fine;
            if (looks->items[j]->sign.fine == kinds->items[i]->sign.fine) {
                same_looks++;
                found.items[i] = looks->items[j];
            }
        }
        if (same_kinds != 1 || same_looks != 1) {
            return false;
        }
    }
    found.count = kinds->count;
    *looks = found;
    return true;
}

/* Where as many kinds were counted that look like nothing yet as there are looks, those that do
 * more make more nodes, compiled or not. As long as it is searched, there may be others. */
static uint64_t
match_others(const ft_step_group *group, const family *alike, bool searching)
{
    kinds_in_order kinds = {.count = 0}, looks = {.count = 0};
    bool often = true;
    for (size_t i = 0; i < group->kind_count; i++) {
        ft_step_kind *kind = &group->kinds[i];
        if (!is_in(alike, kind)) {
            continue;
        }
        if (kind->known && !kind->has_look) {
            often = often && kind->counted >= COUNTED;
        }
        if (kind->known && !kind->has_look && kind->counted > 0) {
            insert(&kinds, kind);
        }
        else if (kind->wanted) {
            insert(&looks, kind);
            often = often && kind->seen >= COUNTED;
        }
    }
    uint64_t explained = 0;
    if (kinds.count == looks.count && (often || !searching) &&
        ((kinds.count > 1 && by_versions(&kinds, &looks)) ||
         in_order(group, alike, &kinds, &looks))) {
        for (size_t i = 0; i < kinds.count; i++) {
            explained += adopt(kinds.items[i], looks.items[i]);
        }
    }
    return explained;
}

uint64_t
ft_kinds_match(ft_step_group *group, bool searching)
{
    uint64_t explained = 0;
    for (size_t i = 0; i < group->kind_count && group->kind_count <= FT_MAX_KINDS; i++) {
        ft_step_kind *wanted = &group->kinds[i];
        if (!wanted->wanted) {
            continue;
        }
        family alike = family_of(group, wanted);
        how_often all = count_alike(group, &alike);
        if (all.seen < all.watched || all.counted < COUNTED) {
            continue;
        }
        ft_step_kind *common = find_common(group, wanted, all);
        explained += common == NULL    ? match_others(group, &alike, searching)
                     : is_free(common) ? adopt(common, wanted)
                                       : 0;
    }
    return explained;
}

uint64_t
ft_kinds_match_last(ft_step_group *group)
{
    uint64_t explained = 0;
    for (size_t i = 0; i < group->kind_count; i++) {
        ft_step_kind *wanted = &group->kinds[i], *found = NULL;
        family alike = family_of(group, wanted);
        for (size_t j = 0; j < group->kind_count && wanted->wanted; j++) {
            ft_step_kind *kind = &group->kinds[j];
            bool may_be = is_in(&alike, kind) && kind->known && kind->compiled;
            found = may_be && !kind->has_look ? kind : found;
        }
        how_often all = count_alike(group, &alike);
        if (all.known == 1 && all.wanted == 1 && found != NULL) {
            explained += adopt(found, wanted);
        }
    }
    return explained;
}

bool
ft_kinds_undecided(const ft_step_group *group)
{
    bool undecided = false;
    for (size_t i = 0; i < group->kind_count; i++) {
        const ft_step_kind *wanted = &group->kinds[i];
        if (wanted->wanted) {
            family alike = family_of(group, wanted);
            how_often all = count_alike(group, &alike);
            undecided =
                undecided || (all.free >= 2 && all.free == all.known && all.free >= all.wanted);
        }
    }
    return undecided;
}

ft_step_kind *
ft_kinds_mistaken(const ft_step_group *group, const ft_step_kind *kind)
{
    ft_step_kind *other = NULL;
    if (!kind->compiled || kind->has_look) {
        return NULL;
    }
    family alike = family_of(group, kind);
    for (size_t i = 0; i < group->kind_count; i++) {
        ft_step_kind *candidate = &group->kinds[i];
        if (!is_in(&alike, candidate)) {
            continue;
        }
        if (candidate->wanted) {
            return NULL;
        }
        other = candidate->known && candidate->has_look ? candidate : other;
    }
    return other;
}
