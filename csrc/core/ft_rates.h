/* Work over time: FLOP/s, and the share of a device's peak. Counts stay exact up to here; a rate is
 * a double, since seconds are. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_RATES_H
#define FT_RATES_H

#include "ft_u128.h"

/* The nearest double, or the one beside it. */
double ft_u128_to_double(ft_u128 a);

/* FLOPs per second; seconds are above 0. */
double ft_rate(ft_u128 flops, double seconds);

/* Work of one kind, and the FLOP/s that the device does of it at most. */
typedef struct {
    ft_u128 flops;
    double peak;
} ft_rate_part;

/* The seconds that the work takes at its peaks, over those that it took: with one peak the same as
 * rate / peak. Peaks and seconds are above 0. */
double ft_utilization(const ft_rate_part *parts, size_t count, double seconds);
/* The peak that all of the work has together: FLOPs over the seconds they take at their peaks; 0
 * where there is no work. */
double ft_joint_peak(const ft_rate_part *parts, size_t count);

#endif
