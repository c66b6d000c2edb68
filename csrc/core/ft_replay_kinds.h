/* Inside of ft_replay.c: groups of steps with one key, and the kinds in them. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_REPLAY_KINDS_H
#define FT_REPLAY_KINDS_H

#include "ft_replay.h"

void ft_kinds_clear(ft_allocator allocator, ft_step_group *group);
/* NULL where there is none. */
ft_step_group *ft_kinds_group(const ft_replay *replay, ft_step_key key);
/* Where there are too many, the one that was not used for longest goes. */
ft_status ft_kinds_add_group(ft_replay *replay, ft_step_key key, ft_step_group **group);
/* The kind with that sign, added where there is none. */
ft_status ft_kinds_add(ft_replay *replay, ft_step_group *group, ft_step_sign sign,
                       ft_step_kind **kind);
/* Whether a step with that sign is known to be of that kind. */
bool ft_kinds_is(const ft_step_kind *kind, ft_step_sign sign);
/* The known kind of a step that was not counted; else NULL. */
ft_step_kind *ft_kinds_uncounted(const ft_step_group *group, ft_step_sign sign);
/* Whether counted steps were of that kind again and again, and what waits may look like it. */
bool ft_kinds_test(ft_step_group *group, const ft_step_kind *kind);
/* After that a step was not counted: of what had waited, how many steps it explains. */
uint64_t ft_kinds_tested(ft_step_group *group, ft_step_sign sign);
/* A counted step has that sign, which another kind was taken to look like: that kind, or NULL. */
ft_step_kind *ft_kinds_drop_look(const ft_step_group *group, ft_step_sign sign);

#endif
