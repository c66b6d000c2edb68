/* Fused optimizer steps, and the scaler of mixed precision; loops and lists need no rows. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

#define COMMON                                                                       \
    TENSOR("self"), GIVEN("maximize"), GIVEN("grad_scale"), NONZERO("weight_decay"), \
        SCALED("weight_decay")

const ft_map_row ft_map_aten_optimizers[] = {
    {"aten._fused_sgd",
     &ft_sgd_update,
     FT_ROW_EACH,
     {COMMON, NONZERO("momentum"), SCALED("momentum"), NONZERO("dampening"), GIVEN("nesterov"),
      GIVEN("is_first_step")}},
    {"aten._fused_adam",
     &ft_adam_update,
     FT_ROW_EACH,
     {COMMON, NONZERO("beta2"), GIVEN("amsgrad"), IS(0)}},
    {"aten._fused_adamw",
     &ft_adam_update,
     FT_ROW_EACH,
     {COMMON, NONZERO("beta2"), GIVEN("amsgrad"), IS(1)}},
    {"aten._fused_adagrad", &ft_adagrad_update, FT_ROW_EACH, {COMMON}},
    /* g*scale, and whether it is finite */
    PER(ft_update, "_amp_foreach_non_finite_check_and_unscale", FT_ROW_EACH, TENSOR("self"), 1, 1,
        0, IS(0)),
    /* scale*factor, by whether a gradient was not finite */
    PER(ft_update, "_amp_update_scale", 0, TENSOR("self"), 1, 1, 0, IS(0)),
};

const size_t ft_map_aten_optimizers_count = FT_COUNT_OF(ft_map_aten_optimizers);
