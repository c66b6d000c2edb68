/* The work of all steps of a run, of which only some are counted.
 *
 * A step that is counted leaves its work as the profile of its kind. A kind is what was known
 * before the step ran, its key, and what is seen of it afterwards, its sign. A step that is not
 * counted takes the profile of its kind, or waits until a counted step is of that kind. The work of
 * the run is what was counted, and each profile as often as it was taken. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_REPLAY_H
#define FT_REPLAY_H

#include "ft_tally.h"

/* low and high: a digest of all that is known before a step; base: one of that without what the
 * step before has left in gradients. */
typedef struct {
    uint64_t low, high, base;
} ft_step_key;

/* `advance`: how far autograd's numbering went, which is another number where code runs compiled;
 * `fine`: a digest of what counting may change, such as versions of tensors; `rest`: of everything
 * else that a step leaves behind. fresh: all gradients are its own, so that it makes no difference
 * what was in them before. */
typedef struct {
    uint64_t advance, rest, fine;
    bool fresh;
} ft_step_sign;

/* What is known of a counted step beside its work. */
typedef struct {
    bool compiled; /* it called code of torch.compile */
    bool varies;   /* sizes in it depended on data */
} ft_step_traits;

typedef enum {
    FT_TRACE_AUTO,   /* the first steps, of each kind, and now and then one more, the audit */
    FT_TRACE_ALWAYS, /* every step */
    FT_TRACE_FIRST,  /* the first step of each kind alone */
} ft_trace_mode;

/* FT_WARM_UP: of the first steps many are like none that come later. */
enum { FT_MAX_GROUPS = 1024, FT_MAX_KINDS = 64, FT_WARM_UP = 8 };

typedef struct {
    ft_step_sign sign, look; /* look: the sign of its steps that are not counted */
    bool has_look;
    bool compiled;          /* the last counted one called compiled code */
    bool known;             /* it has a profile */
    bool wanted;            /* it has none, and a step of it was not counted */
    bool doubted;           /* it was said that others may have been taken for it */
    uint64_t counted, seen; /* steps since something is wanted: counted ones, and others */
    uint64_t met, first;    /* how often it was counted after the first steps of all; how many had
                             * not been counted until then */
    uint64_t last, gap;     /* wanted: the number of its last step, and how far it was from the
                             * one before */
    ft_tally profile;
    ft_u128 flops;    /* of the profile, under the convention of the run */
    uint64_t taken;   /* how often, since the profile was made */
    uint64_t waiting; /* steps of this kind, while it has no profile */
} ft_step_kind;

/* All kinds with one key. */
typedef struct {
    ft_step_key key;
    ft_step_kind *kinds;
    size_t kind_count, kind_capacity;
    uint64_t gap, until_audit; /* steps between two audits, and before the next one */
    uint64_t futile;           /* counted steps in a row that were of no wanted kind */
    uint64_t steps, uncounted; /* how many had it; of them were not counted */
    uint64_t used;             /* the number of the last step of the run that had it */
    int doubts;                /* how many audits in a row differed from the profile */
    bool varies;               /* what its steps do depends on data: all are counted */
} ft_step_group;

typedef struct {
    ft_allocator allocator;
    const ft_convention *convention;
    ft_trace_mode trace;
    uint64_t verify_every; /* mean number of steps from one audit to the next, in the long run */
    uint64_t random;
    ft_tally settled; /* what was counted, and what was taken of profiles that are no more */
    ft_step_group *groups;
    size_t group_count, group_capacity;
    uint32_t slots[2 * FT_MAX_GROUPS]; /* by key, open addressing: 0 is free, else number + 1 */
    uint64_t counted, taken, waiting, lost; /* steps; their sum is the number of all */
    uint64_t surprises; /* steps that were not counted and turned out to be of no known kind */
    bool varies;        /* these were many: all steps are counted */
} ft_replay;

/* verify_every is at least 1; the seed decides which steps are audited. */
void ft_replay_init(ft_replay *replay, ft_allocator allocator, const ft_convention *convention,
                    ft_trace_mode trace, uint64_t verify_every, uint64_t seed);
void ft_replay_clear(ft_replay *replay);

/* Whether the step that comes, with this key, is to be counted. */
bool ft_replay_wants(const ft_replay *replay, ft_step_key key);

typedef struct {
    ft_u128 flops; /* of the step, under the convention */
    bool differs;  /* steps may have been taken for what they were not: their cost is `found` */
    ft_u128 found; /* and that of the profile that was taken is `before` */
    ft_u128 before;
    bool varies;       /* from now on, and not before, all steps with its key are counted */
    uint64_t resolved; /* steps that had waited, and are of a known kind now */
} ft_counted_step;

typedef struct {
    bool known;    /* it has its kind's profile; else it waits */
    ft_u128 flops; /* of it */
    uint64_t resolved;
} ft_taken_step;

/* A step was counted. Takes the rows out of `work`. All or nothing. */
ft_status ft_replay_count(ft_replay *replay, ft_step_key key, ft_step_sign sign,
                          ft_step_traits traits, ft_tally *work, ft_counted_step *result);
/* A step was not counted. */
ft_status ft_replay_take(ft_replay *replay, ft_step_key key, ft_step_sign sign,
                         ft_taken_step *result);
/* Whether a step of this kind, which was not counted, has a profile by now, of *flops. */
bool ft_replay_known(const ft_replay *replay, ft_step_key key, ft_step_sign sign, ft_u128 *flops);
/* The profile of that kind; NULL where there is none. */
const ft_tally *ft_replay_profile(const ft_replay *replay, ft_step_key key, ft_step_sign sign);
/* Work that is of no kind. Takes the rows out of `work`. All or nothing. */
ft_status ft_replay_settle(ft_replay *replay, ft_tally *work);
/* Nothing is to be waited for: what may be of one known kind alone is taken to be. How many steps.
 */
uint64_t ft_replay_decide(ft_replay *replay);
/* Steps that wait are never to have a profile: they are in `lost`, and in no sum. */
void ft_replay_abandon(ft_replay *replay);
/* Adds the work of all steps but those that wait. On a failure some rows may have been added. */
ft_status ft_replay_sum(const ft_replay *replay, ft_tally *sum);

#endif
