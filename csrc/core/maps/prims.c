/* PyTorch's primitives, of which its decompositions are made: forward-mode derivatives among them.
 */
/* SPDX-License-Identifier: MIT */
#include "aten_rows.h"

/* Each as ATen's operation of that name. */
#define STEPS(op, flags, arith, compare, special)           \
    {                                                       \
        "prims." op, &ft_pointwise, flags,                  \
        {                                                   \
            OUT, IS(arith), IS(compare), IS(special), IS(0) \
        }                                                   \
    }
#define ARITH(op) STEPS(op, 0, 1, 0, 0)
#define PRODUCT(op) STEPS(op, FT_ROW_PRODUCTS, 1, 0, 0)
#define COMPARE(op) STEPS(op, 0, 0, 1, 0)
#define SPECIAL(op) STEPS(op, 0, 0, 0, 1)
#define FOLDING(op, flags, fold_arith, fold_compare, arith, end_arith)                     \
    {                                                                                      \
        "prims." op, &ft_reduction, flags,                                                 \
        {                                                                                  \
            TENSOR("inp"), OUT, IS(fold_arith), IS(fold_compare), IS(arith), IS(0), IS(0), \
                IS(end_arith), IS(0)                                                       \
        }                                                                                  \
    }
#define DATA(op)                       \
    {                                  \
        "prims." op, &ft_data_free, 0, \
        {{0}}                          \
    }

const ft_map_row ft_map_prims[] = {
    ARITH("add"),
    ARITH("sub"),
    ARITH("neg"),
    PRODUCT("mul"),
    PRODUCT("div"),
    PRODUCT("reciprocal"),
    STEPS("remainder", 0, 3, 1, 0),
    STEPS("fmod", 0, 3, 1, 0),
    STEPS("hypot", 0, 3, 0, 1),

    COMPARE("abs"),
    COMPARE("ceil"),
    COMPARE("floor"),
    COMPARE("fmax"),
    COMPARE("fmin"),
    COMPARE("frexp"),
    COMPARE("maximum"),
    COMPARE("minimum"),
    COMPARE("nextafter"),
    COMPARE("round"),
    COMPARE("sign"),
    COMPARE("trunc"),

    SPECIAL("acos"),
    SPECIAL("acosh"),
    SPECIAL("asin"),
    SPECIAL("asinh"),
    SPECIAL("atan"),
    SPECIAL("atan2"),
    SPECIAL("atanh"),
    SPECIAL("bessel_i0"),
    SPECIAL("bessel_i0e"),
    SPECIAL("bessel_i1"),
    SPECIAL("bessel_i1e"),
    SPECIAL("bessel_j0"),
    SPECIAL("bessel_j1"),
    SPECIAL("cbrt"),
    SPECIAL("cos"),
    SPECIAL("cosh"),
    SPECIAL("digamma"),
    SPECIAL("erf"),
    SPECIAL("erf_inv"),
    SPECIAL("erfc"),
    SPECIAL("erfcx"),
    SPECIAL("exp"),
    SPECIAL("exp2"),
    SPECIAL("expm1"),
    SPECIAL("igamma"),
    SPECIAL("igammac"),
    SPECIAL("lgamma"),
    SPECIAL("log"),
    SPECIAL("log10"),
    SPECIAL("log1p"),
    SPECIAL("log2"),
    SPECIAL("ndtri"),
    SPECIAL("pow"),
    SPECIAL("rsqrt"),
    SPECIAL("sin"),
    SPECIAL("sinh"),
    SPECIAL("spherical_bessel_j0"),
    SPECIAL("sqrt"),
    SPECIAL("tan"),
    SPECIAL("tanh"),
    SPECIAL("zeta"),

    FOLDING("sum", 0, 1, 0, 0, 0),
    FOLDING("prod", FT_ROW_PRODUCTS, 1, 0, 0, 0),
    FOLDING("amax", 0, 0, 1, 0, 0),
    FOLDING("amin", 0, 0, 1, 0, 0),
    FOLDING("var", 0, 2, 0, 2, 2),

    DATA("as_strided"),
    DATA("as_strided_scatter"),
    DATA("cat"),
    DATA("clone"),
    DATA("collapse"),
    DATA("conj_physical"),
    DATA("convert_element_type"),
    DATA("copy_strided"),
    DATA("copy_to"),
    DATA("device_put"),
    DATA("empty"),
    DATA("empty_permuted"),
    DATA("empty_strided"),
    DATA("fill"),
    DATA("full"),
    DATA("full_like"),
    DATA("iota"),
    DATA("reshape"),
    DATA("resize"),
    DATA("rev"),
    DATA("scalar_tensor"),
    DATA("where"),
};

const size_t ft_map_prims_count = FT_COUNT_OF(ft_map_prims);
