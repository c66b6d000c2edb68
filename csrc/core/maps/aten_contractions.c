/* ATen's contractions: which formula counts each, and which argument plays which role. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

#define NO_OPTION IS(0)

const ft_map_row ft_map_aten_contractions[] = {
    {"aten.mm", &ft_matmul, 0, {OUT, TENSOR("self"), NO_OPTION, NO_OPTION, NO_OPTION}},
    {"aten.bmm", &ft_matmul, 0, {OUT, TENSOR("self"), NO_OPTION, NO_OPTION, NO_OPTION}},
    {"aten.mv", &ft_matmul, 0, {OUT, TENSOR("self"), NO_OPTION, NO_OPTION, NO_OPTION}},
    {"aten.dot", &ft_matmul, 0, {OUT, TENSOR("self"), NO_OPTION, NO_OPTION, NO_OPTION}},
    {"aten.vdot", &ft_matmul, 0, {OUT, TENSOR("self"), NO_OPTION, NO_OPTION, NO_OPTION}},
    {"aten.addmm",
     &ft_matmul,
     0,
     {OUT, TENSOR("mat1"), NONZERO("beta"), SCALED("alpha"), SCALED("beta")}},
    {"aten.addmv",
     &ft_matmul,
     0,
     {OUT, TENSOR("mat"), NONZERO("beta"), SCALED("alpha"), SCALED("beta")}},
    {"aten.baddbmm",
     &ft_matmul,
     0,
     {OUT, TENSOR("batch1"), NONZERO("beta"), SCALED("alpha"), SCALED("beta")}},
};

const size_t ft_map_aten_contractions_count = FT_COUNT_OF(ft_map_aten_contractions);
