/* ATen's activation functions and their gradients, per element. */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

#define STEPS(op, arith, compare, special) \
    PER(ft_activation, op, 0, OUT, arith, compare, special, IS(0))
#define BY_TANH TEXT("approximate", "tanh")

const ft_map_row ft_map_aten_activations[] = {
    STEPS("relu", 0, 1, 0),
    STEPS("threshold", 0, 1, 0),
    STEPS("threshold_backward", 0, 1, 0),
    STEPS("hardtanh", 0, 2, 0),
    STEPS("hardtanh_backward", 0, 2, 0),
    STEPS("hardshrink", 0, 2, 0),
    STEPS("hardshrink_backward", 0, 2, 0),
    STEPS("softshrink", 1, 2, 0),
    STEPS("softshrink_backward", 0, 2, 0),
    /* min(max(x + 3, 0), 6)/6, and x times that; g/6; g*(x/3 + 1/2) */
    STEPS("hardsigmoid", 2, 2, 0),
    STEPS("hardsigmoid_backward", 1, 2, 0),
    STEPS("hardswish", 3, 2, 0),
    STEPS("hardswish_backward", 3, 2, 0),
    STEPS("leaky_relu", 1, 1, 0),
    STEPS("leaky_relu_backward", 1, 1, 0),
    STEPS("_prelu_kernel", 1, 1, 0),
    STEPS("_prelu_kernel_backward", 2, 1, 0), /* g*w and g*x */
    STEPS("rrelu_with_noise", 1, 1, 0),
    STEPS("rrelu_with_noise_functional", 1, 1, 0),
    STEPS("rrelu_with_noise_backward", 1, 1, 0),
    /* a*(exp(x) - 1), factors other than 1 read; g*(y + a) or g*a*exp(x) */
    PER(ft_activation, "elu", 0, OUT, 0, 1, 1, SCALED("alpha"), SCALED("scale"),
        SCALED("input_scale")),
    STEPS("elu_backward", 2, 1, 1),
    PER(ft_activation, "celu", 0, OUT, 0, 1, 1, SCALED("alpha"), SCALED("alpha")),
    /* x*s(x); g*s*(1 + x*(1 - s)) */
    STEPS("silu", 1, 0, 1),
    STEPS("silu_backward", 5, 0, 1),
    STEPS("sigmoid_backward", 3, 0, 0),
    STEPS("tanh_backward", 3, 0, 0),
    /* x*tanh(log1p(exp(x))); g*(t + x*s*(1 - t*t)) */
    STEPS("mish", 1, 0, 3),
    STEPS("mish_backward", 6, 0, 4),
    /* log1p(exp(b*x))/b; g*z/(1 + z), z = exp(b*x) */
    PER(ft_activation, "softplus", 0, OUT, 0, 1, 2, SCALED("beta"), SCALED("beta")),
    PER(ft_activation, "softplus_backward", 0, OUT, 3, 1, 1, SCALED("beta")),
    /* min(x, 0) - log1p(exp(-|x|)); g*s(-x) */
    STEPS("log_sigmoid_forward", 2, 2, 2),
    STEPS("log_sigmoid_backward", 2, 0, 1),
    /* x/2*(1 + erf(c*x)); with tanh x/2*(1 + tanh(c*(x + d*x*x*x))): four steps more */
    PER(ft_activation, "gelu", 0, OUT, 4, 0, 1, BY_TANH, BY_TANH, BY_TANH, BY_TANH),
    /* g*((1 + erf(c*x))/2 + x*d*exp(-x*x/2)): 9 and 2 functions. With tanh t, u = c*(x + d*x*x*x)
     * 5, (1 + t)/2 2, x/2*(1 - t*t)*u' 7, + and g 2: 16 and 1, one of them counted as special. */
    PER(ft_activation, "gelu_backward", 0, OUT, 9, 0, 2, BY_TANH, BY_TANH, BY_TANH, BY_TANH,
        BY_TANH, BY_TANH),
    /* a*s(b); g*s and g*s*a*(1 - s) */
    STEPS("glu", 1, 0, 1),
    PER(ft_activation, "glu_backward", 0, TENSOR("grad_output"), 4, 0, 1, IS(0)),
    /* da*s + y*(1 - s)*db */
    STEPS("glu_jvp", 5, 0, 1),
    /* with s' = s*(1 - s) 2, of the first dg*s + g*s'*db 4; of the second (dg*a + g*da)*s' 4, and
     * g*a*s'*(1 - 2*s)*db added 7 */
    PER(ft_activation, "glu_backward_jvp", 0, TENSOR("grad_glu"), 17, 0, 1, IS(0)),
};

const size_t ft_map_aten_activations_count = FT_COUNT_OF(ft_map_aten_activations);
