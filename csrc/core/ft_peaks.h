/* The most FLOP/s that devices do in matrix products, by number format, as their makers state it.
 */
/* SPDX-License-Identifier: MIT */
#ifndef FT_PEAKS_H
#define FT_PEAKS_H

#include "ft_base.h"

typedef enum { FT_FP64, FT_FP32, FT_TF32, FT_BF16, FT_FP16, FT_FORMAT_COUNT } ft_format;

/* Dense figures, never those for 2:4 sparsity, which are twice as high; with tensor or matrix cores
 * where the device has them for the format, adding up in 32 bits. 0: none is known. */
typedef struct {
    const char *device;
    const char *names; /* how drivers call it, in words that all have to occur; '|' between names */
    double peaks[FT_FORMAT_COUNT];
    const char *source;
} ft_peak;

/* "float64", "float32", "tf32", "bfloat16" or "float16". */
const char *ft_format_name(ft_format format);
const ft_peak *ft_peaks(size_t *count);
/* The device that a driver calls so ("NVIDIA A100-SXM4-80GB"); NULL where it is not known. A word
 * that is in no name (MIG, Laptop, Ti) makes it another device. */
const ft_peak *ft_peak_find(const char *name);

#endif
