/* What the tests of replaying share: steps by what they cost, and the sum of a run. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_TEST_REPLAY_H
#define FT_TEST_REPLAY_H

#include "ft_test.h"
#include "ft_test_doubles.h"

static const ft_step_key A = {1, 1, 1}, B = {2, 7, 2};

/* Work of so many multiply-accumulates: so many FLOPs under "macs". */
static inline ft_tally
work_of(uint64_t mac)
{
    ft_tally work;
    ft_tally_init(&work, ft_allocator_libc());
    ft_work_key rows[] = {{.op = 3, .module = 1, .op_class = FT_CLASS_MATMUL},
                          {.op = 4, .module = 2, .op_class = FT_CLASS_CONV}};
    ft_cost part = {0};
    part.by_kind[FT_MAC] = ft_u128_of(mac / 2);
    ft_tally_add(&work, rows[0], &part, 1);
    part.by_kind[FT_MAC] = ft_u128_of(mac - mac / 2);
    ft_tally_add(&work, rows[1], &part, 2);
    return work;
}

static inline void
begin(ft_replay *replay, ft_trace_mode trace, uint64_t verify_every)
{
    ft_replay_init(replay, ft_allocator_libc(), ft_convention_find("macs"), trace, verify_every, 9);
}

static inline ft_counted_step
count_traits(ft_replay *replay, ft_step_key key, ft_step_sign sign, ft_step_traits traits,
             uint64_t mac)
{
    ft_tally work = work_of(mac);
    ft_counted_step step = {0};
    CHECK_STATUS(ft_replay_count(replay, key, sign, traits, &work, &step), FT_OK);
    CHECK_U64(work.count, 0);
    CHECK_U128(step.flops, ft_u128_of(mac));
    return step;
}

static inline ft_counted_step
count(ft_replay *replay, ft_step_key key, uint64_t advance, uint64_t mac)
{
    return count_traits(replay, key, (ft_step_sign){advance, 0, 0, false}, (ft_step_traits){0},
                        mac);
}

/* What the step cost; UINT64_MAX where that is not known yet. */
static inline uint64_t
take_sign(ft_replay *replay, ft_step_key key, ft_step_sign sign)
{
    ft_taken_step step = {.known = false};
    CHECK_STATUS(ft_replay_take(replay, key, sign, &step), FT_OK);
    CHECK(step.flops.hi == 0 && (step.known || step.flops.lo == 0));
    return step.known ? step.flops.lo : UINT64_MAX;
}

static inline uint64_t
take(ft_replay *replay, ft_step_key key, uint64_t advance)
{
    return take_sign(replay, key, (ft_step_sign){advance, 0, 0, false});
}

static inline uint64_t
total(const ft_replay *replay)
{
    ft_tally sum;
    ft_tally_init(&sum, ft_allocator_libc());
    CHECK_STATUS(ft_replay_sum(replay, &sum), FT_OK);
    ft_u128 flops = ft_tally_total(&sum, replay->convention);
    /* Every step called the first operation once and the second one twice. */
    uint64_t steps = replay->counted + replay->taken;
    CHECK(sum.count == 0 ? steps == 0
                         : sum.rows[0].calls == steps && sum.rows[1].calls == 2 * steps);
    ft_tally_clear(&sum);
    CHECK(flops.hi == 0);
    return flops.lo;
}

#endif
