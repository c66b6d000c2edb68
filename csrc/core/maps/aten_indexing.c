/* ATen's sums by index: scatter, index_add, embeddings, and gradients that add up. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

/* Folded by addition, multiplication or a mean, or by comparison: sum and add, prod and multiply,
 * mean; amax and amin. */
#define FOLDED(op, source)                                                                       \
    {                                                                                            \
        "aten." op, &ft_scatter, 0,                                                              \
        {                                                                                        \
            TENSOR(source), IS(0), TEXT("reduce", "amax or amin"), IS(0), TEXT("reduce", "sum"), \
                TEXT("reduce", "add"), TEXT("reduce", "prod"), TEXT("reduce", "multiply"),       \
                TEXT("reduce", "mean")                                                           \
        }                                                                                        \
    }
#define ACCUMULATED(op, source) PER(ft_scatter, op, 0, TENSOR(source), 0, 0, 0, GIVEN("accumulate"))

const ft_map_row ft_map_aten_indexing[] = {
    PER(ft_scatter, "scatter_add", 0, TENSOR("index"), 1, 0, 0, IS(0)),
    /* Without a reduction, elements are only placed. */
    FOLDED("scatter", "index"),
    FOLDED("scatter_reduce", "index"),
    FOLDED("index_reduce", "source"),
    PER(ft_scatter, "index_add", 0, TENSOR("source"), 1, 0, 0, SCALED("alpha")),
    ACCUMULATED("index_put", "values"),
    ACCUMULATED("_index_put_impl", "values"),
    ACCUMULATED("_unsafe_index_put", "values"),
    ACCUMULATED("put", "source"),
    PER(ft_scatter, "_unsafe_masked_index_put_accumulate", 0, TENSOR("values"), 1, 0, 0, IS(0)),
    PER(ft_scatter, "unfold_backward", 0, TENSOR("grad_in"), 1, 0, 0, IS(0)),
    PER(ft_scatter, "col2im", 0, TENSOR("self"), 1, 0, 0, IS(0)),
    PER(ft_scatter, "reflection_pad1d_backward", 0, TENSOR("grad_output"), 1, 0, 0, IS(0)),
    PER(ft_scatter, "reflection_pad2d_backward", 0, TENSOR("grad_output"), 1, 0, 0, IS(0)),
    PER(ft_scatter, "reflection_pad3d_backward", 0, TENSOR("grad_output"), 1, 0, 0, IS(0)),
    PER(ft_scatter, "replication_pad1d_backward", 0, TENSOR("grad_output"), 1, 0, 0, IS(0)),
    PER(ft_scatter, "replication_pad2d_backward", 0, TENSOR("grad_output"), 1, 0, 0, IS(0)),
    PER(ft_scatter, "replication_pad3d_backward", 0, TENSOR("grad_output"), 1, 0, 0, IS(0)),

    ZERO("embedding", ft_embedding_free),
    /* |x|^p, its sum, and x scaled, of each row looked up */
    {"aten.embedding_renorm",
     &ft_gathered_rows,
     0,
     {TENSOR("self"), TENSOR("indices"), IS(2), IS(1)}},
};

const size_t ft_map_aten_indexing_count = FT_COUNT_OF(ft_map_aten_indexing);
