/* What the forward and backward formulas of convolutions share. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_CONVOLUTION_H
#define FT_CONVOLUTION_H

#include "formulas.h"

/* Positions along the spatial axes of `target` that at least one product reaches when every
 * position of `source` sends one through each position of the kernel: target = source * stride +
 * kernel * dilation - padding. The lists may hold one entry for all axes. */
ft_status ft_reached(const ft_operand *source, const ft_operand *target, const ft_operand *weight,
                     const ft_operand *stride, const ft_operand *padding,
                     const ft_operand *dilation, ft_u128 *positions);
/* The products of a convolution: the image that is walked times what each of its elements meets. */
ft_u128 ft_convolution_products(const ft_operand *walked, const ft_operand *weight);

#endif
