/* ATen's elementwise operations: their elementary steps per element. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

const ft_map_row ft_map_aten_pointwise[] = {
    PER(ft_pointwise, "add", 0, OUT, 1, 0, 0, SCALED("alpha")),
    PER(ft_pointwise, "sub", 0, OUT, 1, 0, 0, SCALED("alpha")),
    PER(ft_pointwise, "mul", FT_ROW_PRODUCTS, OUT, 1, 0, 0, IS(0)),
    PER(ft_pointwise, "div", FT_ROW_PRODUCTS, OUT, 1, 0, 0, IS(0)),
    PER(ft_activation, "relu", 0, OUT, 0, 1, 0, IS(0)),
};

const size_t ft_map_aten_pointwise_count = FT_COUNT_OF(ft_map_aten_pointwise);
