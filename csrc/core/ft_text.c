/* Grouping and SI prefixes, on the decimal digits themselves so that nothing is lost to a double.
 */
/* SPDX-License-Identifier: MIT */
#include "ft_text.h"

#include <string.h>

static size_t
group_digits(const char *digits, size_t length, char *text)
{
    size_t out = 0;
    for (size_t i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            text[out++] = ',';
        }
        text[out++] = digits[i];
    }
    return out;
}

size_t
ft_text_grouped(ft_u128 count, char text[FT_TEXT_SIZE])
{
    char digits[FT_U128_TEXT_SIZE];
    size_t length = ft_u128_text(count, digits), out = length;
    if (ft_u128_overflowed(count)) {
        memcpy(text, digits, length);
    }
    else {
        out = group_digits(digits, length, text);
    }
    text[out] = '\0';
    return out;
}

/* Rounds digits[0..length) to `keep` digits; 999.6 becomes 1000, one digit longer. */
static size_t
round_digits(char *digits, size_t length, size_t keep)
{
    bool up = keep < length && digits[keep] >= '5';
    for (size_t i = keep; i < length; i++) {
        digits[i] = '0';
    }
    for (size_t i = keep; up && i-- > 0;) {
        up = digits[i] == '9';
        digits[i] = up ? '0' : (char)(digits[i] + 1);
    }
    if (up) {
        memmove(digits + 1, digits, length);
        digits[0] = '1';
        length++;
    }
    return length;
}

size_t
ft_text_si(ft_u128 count, const char *unit, char text[FT_TEXT_SIZE])
{
    static const char prefixes[] = " kMGTPEZYRQ";
    enum { SIGNIFICANT = 3, LAST_PREFIX = sizeof prefixes - 2 };
    char digits[FT_U128_TEXT_SIZE + 1];
    size_t length = ft_u128_text(count, digits), out = 0, prefix = 0;
    if (ft_u128_overflowed(count)) {
        memcpy(text, digits, length);
        out = length;
    }
    else {
        size_t whole = length > 3 * (LAST_PREFIX + 1) ? length - 3 * LAST_PREFIX : SIGNIFICANT;
        length = round_digits(digits, length, whole);
        prefix = (length - 1) / 3 < LAST_PREFIX ? (length - 1) / 3 : LAST_PREFIX;
        size_t before = length - 3 * prefix;
        out = group_digits(digits, before, text);
        if (prefix > 0 && before < SIGNIFICANT) {
            text[out++] = '.';
            memcpy(text + out, digits + before, SIGNIFICANT - before);
            out += SIGNIFICANT - before;
        }
    }
    text[out++] = ' ';
    if (prefix > 0) {
        text[out++] = prefixes[prefix];
    }
    size_t unit_length = strlen(unit);
    unit_length = unit_length < 8 ? unit_length : 8;
    memcpy(text + out, unit, unit_length);
    out += unit_length;
    text[out] = '\0';
    return out;
}
