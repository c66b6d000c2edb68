/* Operations that count 0, and why. */
/* SPDX-License-Identifier: MIT */
#include "formulas.h"

static ft_status
nothing(const ft_operand *operands, ft_cost *cost)
{
    (void)operands;
    (void)cost;
    return FT_OK;
}

#define FREE_FORMULA(variable, title, family, why)            \
    const ft_formula variable = {                             \
        .name = title,                                        \
        .equation = "0: " why,                                \
        .source = "what the operation is documented to give", \
        .op_class = family,                                   \
        .evaluate = nothing,                                  \
        .examples = {{.text = "always 0"}},                   \
    }

FREE_FORMULA(ft_truth_free, "truth_free", FT_CLASS_POINTWISE,
             "the result is true or false, or an integer, in whichever dtype it is written");
FREE_FORMULA(ft_random_free, "random_free", FT_CLASS_DATA,
             "random numbers are drawn by the generator of the device, in integers, by an "
             "algorithm that the operation does not say");
FREE_FORMULA(ft_resample_free, "resample_free", FT_CLASS_RESAMPLE, "the nearest element is copied");
FREE_FORMULA(ft_collective_free, "collective_free", FT_CLASS_DATA,
             "ranks exchange tensors; which of them adds what on the way is the network's choice");
