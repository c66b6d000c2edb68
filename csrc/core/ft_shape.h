/* Shapes as borrowed dimension lists, and products over them that can't overflow unseen. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_SHAPE_H
#define FT_SHAPE_H

#include "ft_u128.h"

#define FT_MAX_DIMS 64 /* torch's own limit */

/* Dimensions are 0 or more; whoever builds a shape checks that (ft_shape_valid). */
typedef struct {
    const int64_t *dims;
    int ndim;
} ft_shape;

bool ft_shape_valid(ft_shape shape);
/* The same for a list that is no shape: it may be longer. */
bool ft_shape_counts(ft_shape list);
/* The product of dimensions first..last-1; 1 where there are none. */
ft_u128 ft_shape_product(ft_shape shape, int first, int last);
/* The number of elements. */
ft_u128 ft_shape_numel(ft_shape shape);

#endif
