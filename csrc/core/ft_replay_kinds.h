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
/* The kind of a step with that sign, added where there is none. */
ft_status ft_kinds_add(ft_replay *replay, ft_step_group *group, ft_step_sign sign, bool counted,
                       bool compiled, ft_step_kind **kind);
/* The known kind of a step that was not counted and left that sign; else NULL. */
ft_step_kind *ft_kinds_find(const ft_step_group *group, ft_step_sign sign);
/* The known kind with that sign, which is fresh, of another group with the same base; or NULL. */
ft_step_kind *ft_kinds_elsewhere(const ft_replay *replay, const ft_step_group *group,
                                 ft_step_sign sign);
/* Steps that wait in other groups for that kind, which is known now: how many. */
uint64_t ft_kinds_resolve_elsewhere(const ft_replay *replay, const ft_step_group *group,
                                    ft_step_kind *kind);
/* Whether there is a kind that is wanted. */
bool ft_kinds_wanted(const ft_step_group *group);
/* Whether it is first seen how often a wanted kind comes, as a known one may look like it; else it
 * is to be counted. */
bool ft_kinds_watches(const ft_step_group *group, const ft_step_kind *wanted);
/* Begins to look for what is wanted, from here on. */
void ft_kinds_begin_search(ft_step_group *group);
/* Finds of which known kinds the steps are that wait; returns how many steps that explains.
 * searching: steps are counted to find them. */
uint64_t ft_kinds_match(ft_step_group *group, bool searching);
/* The same at the end, where one kind is known and one sign waits. */
uint64_t ft_kinds_match_last(ft_step_group *group);
/* Whether the steps that wait can't be told apart, after a search: no profile can be theirs. */
bool ft_kinds_undecided(const ft_step_group *group);
/* The kind as which steps of this one may have been taken: it is compiled, and what it looks like
 * was never seen. NULL where that is not so. */
ft_step_kind *ft_kinds_mistaken(const ft_step_group *group, const ft_step_kind *kind);
/* A counted step has that sign, which another kind was taken to look like: that kind, or NULL. */
ft_step_kind *ft_kinds_drop_look(const ft_step_group *group, ft_step_sign sign);

#endif
