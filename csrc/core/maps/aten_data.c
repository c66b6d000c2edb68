/* ATen's operations that compute nothing: copies, fills, indexing, random numbers, bookkeeping. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

const ft_map_row ft_map_aten_data[] = {
    ZERO("copy_", ft_data_free),      ZERO("clone", ft_data_free), ZERO("ones_like", ft_data_free),
    ZERO("zeros_like", ft_data_free), ZERO("fill_", ft_data_free), ZERO("zeros", ft_data_free),
    ZERO("ones", ft_data_free),       ZERO("empty", ft_data_free),
};

const size_t ft_map_aten_data_count = FT_COUNT_OF(ft_map_aten_data);
