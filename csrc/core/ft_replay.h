/* The work of all steps of a run, of which only some are counted.
 *
 * A step that is counted leaves its work as the profile of its kind. A kind is what was known
 * before the step ran, its key, and how far autograd's numbering went meanwhile, its advance. A
 * step that is not counted takes the profile of its kind, or waits until a counted step is of that
 * kind. The work of the run is what was counted, and each profile as often as it was taken. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_REPLAY_H
#define FT_REPLAY_H

#include "ft_tally.h"

/* A digest. */
typedef struct {
    uint64_t low, high;
} ft_step_key;

typedef enum {
    FT_TRACE_AUTO,   /* the first step of each kind, and now and then one more, the audit */
    FT_TRACE_ALWAYS, /* every step */
    FT_TRACE_FIRST,  /* the first step of each kind alone */
} ft_trace_mode;

typedef struct {
    uint64_t advance;
    uint64_t advance_unseen; /* of steps that are not counted, where compiled code runs */
    bool known, has_unseen;  /* whether there is a profile, and an advance_unseen */
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
    size_t last_counted, streak; /* the kind of the last counted steps, and how many these are */
    uint64_t until_audit;        /* steps that are not counted before the next one that is */
    uint64_t waiting, futile;    /* steps that wait; counted ones since then, of other kinds */
    uint64_t used;               /* the number of the last step that had it */
    uint32_t differing;
    bool compiled; /* counted steps call code of torch.compile */
    bool varies;   /* steps of one kind did different work: all are counted */
} ft_step_group;

enum { FT_MAX_GROUPS = 1024, FT_MAX_DIFFERING = 2 };

typedef struct {
    ft_allocator allocator;
    const ft_convention *convention;
    ft_trace_mode trace;
    uint64_t verify_every; /* mean number of steps from one audit to the next */
    uint64_t random;
    ft_tally settled; /* what was counted, and what was taken of profiles that are no more */
    ft_step_group *groups;
    size_t group_count, group_capacity;
    uint32_t slots[2 * FT_MAX_GROUPS]; /* by key, open addressing: 0 is free, else number + 1 */
    uint64_t counted, taken, waiting, lost; /* steps; their sum is the number of all */
} ft_replay;

/* verify_every is at least 1; the seed decides which steps are audited. */
void ft_replay_init(ft_replay *replay, ft_allocator allocator, const ft_convention *convention,
                    ft_trace_mode trace, uint64_t verify_every, uint64_t seed);
void ft_replay_clear(ft_replay *replay);

/* Whether the step that comes, with this key, is to be counted. */
bool ft_replay_wants(const ft_replay *replay, ft_step_key key);

typedef struct {
    ft_u128 flops;      /* of the step, under the convention */
    ft_u128 before;     /* what its kind cost until now; the same where nothing differs */
    bool differs;       /* its work is not that of its kind's profile, of which it is now */
    bool began_to_vary; /* from now on all steps with its key are counted */
    uint64_t resolved;  /* steps that had waited for this kind, and cost as much each */
} ft_counted_step;

/* A step was counted. Takes the rows out of `work`. All or nothing. `compiled`: it called code of
 * torch.compile, which makes other nodes where it is not counted. */
ft_status ft_replay_count(ft_replay *replay, ft_step_key key, uint64_t advance, bool compiled,
                          ft_tally *work, ft_counted_step *result);
/* A step was not counted. *known says whether it has its kind's profile, of *flops, or waits. */
ft_status ft_replay_take(ft_replay *replay, ft_step_key key, uint64_t advance, bool *known,
                         ft_u128 *flops);
/* Whether a step of this kind, which was not counted, has a profile by now, of *flops. */
bool ft_replay_known(const ft_replay *replay, ft_step_key key, uint64_t advance, ft_u128 *flops);
/* Steps that wait are never to have a profile: they are in `lost`, and in no sum. */
void ft_replay_abandon(ft_replay *replay);
/* Adds the work of all steps but those that wait. On a failure some rows may have been added. */
ft_status ft_replay_sum(const ft_replay *replay, ft_tally *sum);

#endif
