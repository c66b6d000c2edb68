/* ATen's reductions, scans, and what puts elements in order. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

#define ORDER(argument) \
    EQUALS(argument, 2), EQUALS(argument, 1), EQUALS(argument, 0), INFINITE(argument)
#define ALONG(argument) TENSOR("self"), AXES(argument)
/* Each source element is folded by addition or multiplication, or by comparison. */
#define FOLDED(op, source)                                                              \
    {                                                                                   \
        "aten." op, &ft_scatter, 0,                                                     \
        {                                                                               \
            TENSOR(source), IS(0), TEXT("reduce", "max"), IS(0), TEXT("reduce", "sum"), \
                TEXT("reduce", "prod"), TEXT("reduce", "mean")                          \
        }                                                                               \
    }

#define FOLDED_BY_MIN(op, source)                               \
    {                                                           \
        "aten." op, &ft_scatter, 0,                             \
        {                                                       \
            TENSOR(source), IS(0), TEXT("reduce", "min"), IS(0) \
        }                                                       \
    }

const ft_map_row ft_map_aten_reductions[] = {
    FOLD("sum", "self", 1, 0, 0, 0, 0, 0, 0),
    FOLD("nansum", "self", 1, 0, 0, 1, 0, 0, 0),
    FOLD("mean", "self", 1, 0, 0, 0, 0, 1, 0),
    {"aten.prod",
     &ft_reduction,
     FT_ROW_PRODUCTS,
     {TENSOR("self"), OUT, IS(1), IS(0), IS(0), IS(0), IS(0), IS(0), IS(0)}},
    FOLD("amax", "self", 0, 1, 0, 0, 0, 0, 0),
    FOLD("amin", "self", 0, 1, 0, 0, 0, 0, 0),
    FOLD("max", "self", 0, 1, 0, 0, 0, 0, 0),
    FOLD("min", "self", 0, 1, 0, 0, 0, 0, 0),
    FOLD("aminmax", "self", 0, 2, 0, 0, 0, 0, 0),
    FOLD("_aminmax", "self", 0, 2, 0, 0, 0, 0, 0),
    /* mean, x - mean, squared, added up, divided */
    FOLD("var", "self", 2, 0, 2, 0, 0, 2, 0),
    FOLD("var_mean", "self", 2, 0, 2, 0, 0, 2, 0),
    FOLD("std", "self", 2, 0, 2, 0, 0, 2, 1),
    FOLD("std_mean", "self", 2, 0, 2, 0, 0, 2, 1),
    /* m + log(sum(exp(x - m))), m the maximum */
    FOLD("logsumexp", "self", 1, 1, 1, 0, 1, 1, 1),
    FOLD("_coalesce", "self", 1, 0, 0, 0, 0, 0, 0),
    FOLD("_sparse_sum", "self", 1, 0, 0, 0, 0, 0, 0),
    FOLD("_sparse_csr_sum", "self", 1, 0, 0, 0, 0, 0, 0),
    FOLD("_sparse_csr_prod", "self", 1, 0, 0, 0, 0, 0, 0),
    {"aten.trace", &ft_trace, 0, {TENSOR("self")}},

    {"aten.linalg_vector_norm", &ft_vector_norm, 0, {TENSOR("self"), OUT, ORDER("ord"), IS(0)}},
    {"aten.norm", &ft_vector_norm, 0, {TENSOR("self"), OUT, ORDER("p"), IS(0)}},
    {"aten.native_norm", &ft_vector_norm, 0, {TENSOR("self"), OUT, ORDER("p"), IS(0)}},
    {"aten._foreach_norm",
     &ft_vector_norm,
     FT_ROW_EACH,
     {TENSOR("self"), OUT, ORDER("ord"), IS(0)}},
    {"aten.linalg__powsum", &ft_vector_norm, 0, {TENSOR("self"), OUT, ORDER("ord"), IS(1)}},
    {"aten._foreach_powsum",
     &ft_vector_norm,
     FT_ROW_EACH,
     {TENSOR("self"), OUT, ORDER("ord"), IS(1)}},
    {"aten.dist", &ft_distance, 0, {TENSOR("self"), TENSOR("other"), OUT, ORDER("p"), IS(0)}},

    {"aten.cumsum", &ft_scan, 0, {ALONG("dim"), IS(1), IS(0), IS(0)}},
    {"aten.cumprod", &ft_scan, FT_ROW_PRODUCTS, {ALONG("dim"), IS(1), IS(0), IS(0)}},
    {"aten.cummax", &ft_scan, 0, {ALONG("dim"), IS(0), IS(1), IS(0)}},
    {"aten.cummin", &ft_scan, 0, {ALONG("dim"), IS(0), IS(1), IS(0)}},
    {"aten._cummax_helper", &ft_scan, 0, {ALONG("dim"), IS(0), IS(1), IS(0)}},
    {"aten._cummin_helper", &ft_scan, 0, {ALONG("dim"), IS(0), IS(1), IS(0)}},
    /* each step is a logaddexp */
    {"aten.logcumsumexp", &ft_scan, 0, {ALONG("dim"), IS(3), IS(2), IS(2)}},
    {"aten._logcumsumexp", &ft_scan, 0, {ALONG("dim"), IS(3), IS(2), IS(2)}},

    {"aten.sort", &ft_sort, 0, {ALONG("dim"), IS(0)}},
    {"aten.topk", &ft_sort, 0, {ALONG("dim"), IS(0)}},
    {"aten.kthvalue", &ft_sort, 0, {ALONG("dim"), IS(0)}},
    {"aten.median", &ft_sort, 0, {ALONG("dim"), IS(0)}},
    {"aten.nanmedian", &ft_sort, 0, {ALONG("dim"), IS(0)}},
    {"aten.mode", &ft_sort, 0, {ALONG("dim"), IS(1)}},
    {"aten._unique", &ft_sort, 0, {ALONG(NULL), IS(1)}},
    {"aten._unique2", &ft_sort, 0, {ALONG(NULL), IS(1)}},
    /* Rows are compared element by element. */
    {"aten.unique_dim", &ft_sort, 0, {ALONG("dim"), IS(1)}},
    {"aten.unique_consecutive", &ft_scan, 0, {ALONG("dim"), IS(0), IS(1), IS(0)}},
    {"aten.unique_dim_consecutive", &ft_scan, 0, {ALONG("dim"), IS(0), IS(1), IS(0)}},

    /* (x - low)*scale, kept within the bins, and 1 added there */
    PER(ft_scatter, "histc", 0, TENSOR("self"), 3, 2, 0, IS(0)),
    PER(ft_scatter, "histogram.bin_ct", 0, TENSOR("self"), 3, 2, 0, IS(0)),
    PER(ft_scatter, "histogram.bin_ct_out", 0, TENSOR("self"), 3, 2, 0, IS(0)),
    {"aten.histogram", &ft_binary_search, 0, {TENSOR("self"), TENSOR("bins")}},
    PER(ft_scatter, "_histogramdd_from_bin_cts", 0, TENSOR("self"), 3, 2, 0, IS(0)),
    {"aten._histogramdd_from_bin_tensors", &ft_binary_search, 0, {TENSOR("self"), TENSOR("bins")}},
    /* The smallest and the largest element; the edges between them are created. */
    {"aten._histogramdd_bin_edges", &ft_scan, 0, {TENSOR("self"), AXES(NULL), IS(0), IS(2), IS(0)}},
    /* Without weights the counts are integers. */
    PER(ft_scatter, "bincount", 0, TENSOR("self"), 1, 0, 0, IS(0)),
    FOLDED("segment_reduce", "data"),
    FOLDED_BY_MIN("segment_reduce", "data"),
    FOLDED("_segment_reduce_backward", "data"),
    FOLDED_BY_MIN("_segment_reduce_backward", "data"),
};

const size_t ft_map_aten_reductions_count = FT_COUNT_OF(ft_map_aten_reductions);
