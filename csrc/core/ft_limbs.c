/* Splits counts into limbs that can be summed one by one, and carries when they are joined. */
/* SPDX-License-Identifier: MIT */
#include "ft_limbs.h"

enum { VALUE_LIMBS = 4, OVERFLOWED = VALUE_LIMBS, PARTS, TAGS };

void
ft_limbs_split(ft_u128 count, uint32_t tag, int64_t limbs[FT_LIMB_COUNT])
{
    limbs[0] = (int64_t)(count.lo & UINT32_MAX);
    limbs[1] = (int64_t)(count.lo >> 32);
    limbs[2] = (int64_t)(count.hi & UINT32_MAX);
    limbs[3] = (int64_t)(count.hi >> 32);
    limbs[OVERFLOWED] = ft_u128_overflowed(count);
    limbs[PARTS] = 1;
    limbs[TAGS] = tag;
}

ft_status
ft_limbs_join(const int64_t limbs[FT_LIMB_COUNT], uint32_t tag, uint32_t parts, ft_u128 *sum)
{
    if (parts == 0 || parts > FT_LIMBS_MOST || limbs[PARTS] != (int64_t)parts ||
        limbs[TAGS] != (int64_t)tag * (int64_t)parts || limbs[OVERFLOWED] < 0 ||
        limbs[OVERFLOWED] > (int64_t)parts) {
        return FT_BAD_SUM;
    }
    uint64_t digits[VALUE_LIMBS], carry = 0;
    for (int i = 0; i < VALUE_LIMBS; i++) {
        if (limbs[i] < 0 || limbs[i] > (int64_t)UINT32_MAX * (int64_t)parts) {
            return FT_BAD_SUM;
        }
        carry += (uint64_t)limbs[i]; /* below 2^62 + 2^31 */
        digits[i] = carry & UINT32_MAX;
        carry >>= 32;
    }
    *sum = (ft_u128){digits[0] | digits[1] << 32, digits[2] | digits[3] << 32};
    if (carry != 0 || limbs[OVERFLOWED] != 0) {
        *sum = FT_U128_OVERFLOW;
    }
    return FT_OK;
}
