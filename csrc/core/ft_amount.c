/* Reading amounts: digits into an integer, then its power of ten. */
/* SPDX-License-Identifier: MIT */
#include "ft_amount.h"

#include <string.h>

enum { MOST_TENS = 4096 }; /* of an exponent; 2^128 is below 10^39 */

static const char *const problem_texts[] = {
#define FT_AMOUNT_TEXT(name, text) text,
    FT_AMOUNT_LIST(FT_AMOUNT_TEXT)
#undef FT_AMOUNT_TEXT
};

const char *
ft_amount_text(ft_amount_problem problem)
{
    return problem_texts[problem];
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static ft_u128
append_digit(ft_u128 digits, char digit)
{
    return ft_u128_add(ft_u128_multiply(digits, ft_u128_of(10)),
                       ft_u128_of((uint64_t)(digit - '0')));
}

/* Whether a comma at `text` is followed by exactly three digits, as in 1,000. */
static bool
groups_thousands(const char *text)
{
    return is_digit(text[1]) && is_digit(text[2]) && is_digit(text[3]) && !is_digit(text[4]);
}

/* Digits with commas between thousands, a point and more digits: digits * 10^tens. */
static const char *
read_digits(const char *text, ft_u128 *digits, int *tens)
{
    const char *start = text;
    bool any = false;
    *digits = FT_U128_ZERO;
    *tens = 0;
    for (; is_digit(*text) || (*text == ',' && text > start && groups_thousands(text)); text++) {
        if (*text != ',') {
            *digits = append_digit(*digits, *text);
            any = true;
        }
    }
    if (*text == '.') {
        for (text++; is_digit(*text); text++, any = true) {
            int zeros = (int)strspn(text, "0");
            if (!is_digit(text[zeros])) { /* what follows is nothing but zeros */
                text += zeros;
                any = true;
                break;
            }
            *digits = append_digit(*digits, *text);
            *tens -= *tens > -MOST_TENS;
        }
    }
    return any ? text : NULL;
}

/* "e15", or nothing: the E of "1 EFLOP" has no digit after it. */
static const char *
read_exponent(const char *text, int *tens)
{
    bool negative = text[0] != '\0' && text[1] == '-';
    const char *digits = text + 1;
    if (*text != 'e' && *text != 'E') {
        return text;
    }
    digits += *digits == '-' || *digits == '+';
    if (!is_digit(*digits)) {
        return text;
    }
    int exponent = 0;
    for (; is_digit(*digits); digits++) {
        exponent = exponent < MOST_TENS ? 10 * exponent + (*digits - '0') : exponent;
    }
    *tens += negative ? -exponent : exponent;
    return digits;
}

static bool
is_word(const char *text, size_t length, const char *word)
{
    for (size_t i = 0; i < length; i++) {
        char lower = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + ('a' - 'A')) : text[i];
        if (lower != word[i]) { /* the end of the word among it */
            return false;
        }
    }
    return word[length] == '\0';
}

/* "PFLOP", "GFLOPs", "TFLOP/s", or nothing. A capital S at the end means per second. */
static ft_amount_problem
read_unit(const char *text, size_t length, bool per_second, int *tens)
{
    static const char prefixes[] = "kMGTPEZYRQ";
    if (length == 0) {
        return FT_AMOUNT_OK;
    }
    const char *prefix = *text == 'K' ? prefixes : strchr(prefixes, *text);
    if (prefix != NULL) {
        *tens += 3 * ((int)(prefix - prefixes) + 1);
        text++;
        length--;
    }
    bool amount = is_word(text, length, "flop") || is_word(text, length, "flops");
    bool rate = is_word(text, length, "flop/s") || is_word(text, length, "flops/s") ||
                (amount && text[length - 1] == 'S');
    if (!amount && !rate) {
        return FT_AMOUNT_UNKNOWN_UNIT;
    }
    return rate && !per_second ? FT_AMOUNT_PER_SECOND : FT_AMOUNT_OK;
}

/* digits * 10^tens, a remainder rounded up. */
static ft_u128
scale(ft_u128 digits, int tens)
{
    bool part = false;
    for (; tens > 0 && !ft_u128_is_zero(digits) && !ft_u128_overflowed(digits); tens--) {
        digits = ft_u128_multiply(digits, ft_u128_of(10));
    }
    for (; tens < 0 && !ft_u128_is_zero(digits); tens++) {
        uint64_t remainder;
        digits = ft_u128_divide(digits, 10, &remainder);
        part = part || remainder != 0;
    }
    return part ? ft_u128_add(digits, ft_u128_of(1)) : digits;
}

ft_amount_problem
ft_amount_parse(const char *text, bool per_second, ft_u128 *value)
{
    ft_u128 digits;
    int tens;
    text += strspn(text, " ");
    bool negative = *text == '-';
    text += negative || *text == '+';
    if ((text = read_digits(text, &digits, &tens)) == NULL) {
        return FT_AMOUNT_NO_NUMBER;
    }
    if (ft_u128_overflowed(digits)) {
        return FT_AMOUNT_TOO_LARGE;
    }
    text = read_exponent(text, &tens);
    text += strspn(text, " ");
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == ' ') {
        length--;
    }
    ft_amount_problem problem = read_unit(text, length, per_second, &tens);
    if (problem != FT_AMOUNT_OK) {
        return problem;
    }
    ft_u128 scaled = scale(digits, tens);
    if (negative && !ft_u128_is_zero(scaled)) {
        return FT_AMOUNT_NEGATIVE;
    }
    if (ft_u128_overflowed(scaled)) {
        return FT_AMOUNT_TOO_LARGE;
    }
    *value = scaled;
    return FT_AMOUNT_OK;
}

ft_u128
ft_amount_of_double(double value)
{
    const double two_to_64 = 18446744073709551616.0;
    if (!(value >= 0 && value < two_to_64 * two_to_64)) {
        return FT_U128_OVERFLOW;
    }
    ft_u128 whole = {0, (uint64_t)(value / two_to_64)};
    double rest = value - (double)whole.hi * two_to_64; /* exact: the lower bits of value */
    whole.lo = (uint64_t)rest;
    return (double)whole.lo < rest ? ft_u128_add(whole, ft_u128_of(1)) : whole;
}
