/* Counts as people read them: 8,178,368,512 and 8.18 GFLOP. Rounding is in integers, half up. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_TEXT_H
#define FT_TEXT_H

#include "ft_u128.h"

#define FT_TEXT_SIZE 64 /* 39 digits, 12 separators, a prefix and a unit of up to 8 letters */

/* Digits in groups of three; returns their number. */
size_t ft_text_grouped(ft_u128 count, char text[FT_TEXT_SIZE]);
/* Three significant digits, SI prefix and unit; whole numbers below 1000. */
size_t ft_text_si(ft_u128 count, const char *unit, char text[FT_TEXT_SIZE]);

#endif
