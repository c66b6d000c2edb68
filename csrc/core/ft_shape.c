/* Products over dimensions. */
/* SPDX-License-Identifier: MIT */
#include "ft_shape.h"

bool
ft_shape_valid(ft_shape shape)
{
    return shape.ndim <= FT_MAX_DIMS && ft_shape_counts(shape);
}

bool
ft_shape_counts(ft_shape list)
{
    for (int i = 0; i < list.ndim; i++) {
        if (list.dims[i] < 0) {
            return false;
        }
    }
    return list.ndim >= 0;
}

ft_u128
ft_shape_product(ft_shape shape, int first, int last)
{
    ft_u128 product = ft_u128_of(1);
    for (int i = first; i < last; i++) {
        if (shape.dims[i] == 0) {
            return FT_U128_ZERO; /* also where the others' product would overflow */
        }
    }
    for (int i = first; i < last; i++) {
        product = ft_u128_multiply(product, ft_u128_of((uint64_t)shape.dims[i]));
    }
    return product;
}

ft_u128
ft_shape_numel(ft_shape shape)
{
    return ft_shape_product(shape, 0, shape.ndim);
}
