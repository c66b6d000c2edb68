/* Rates as doubles. */
/* SPDX-License-Identifier: MIT */
#include "ft_rates.h"

double
ft_u128_to_double(ft_u128 a)
{
    return (double)a.hi * 18446744073709551616.0 + (double)a.lo;
}

double
ft_rate(ft_u128 flops, double seconds)
{
    return ft_u128_to_double(flops) / seconds;
}

static double
seconds_at_peak(const ft_rate_part *parts, size_t count)
{
    double seconds = 0;
    for (size_t i = 0; i < count; i++) {
        seconds += ft_u128_to_double(parts[i].flops) / parts[i].peak;
    }
    return seconds;
}

double
ft_utilization(const ft_rate_part *parts, size_t count, double seconds)
{
    return seconds_at_peak(parts, count) / seconds;
}

double
ft_joint_peak(const ft_rate_part *parts, size_t count)
{
    ft_u128 flops = FT_U128_ZERO;
    for (size_t i = 0; i < count; i++) {
        flops = ft_u128_add(flops, parts[i].flops);
    }
    double seconds = seconds_at_peak(parts, count);
    return seconds > 0 ? ft_u128_to_double(flops) / seconds : 0;
}
