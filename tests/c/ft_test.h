/* Checks that count their failures and go on, the main of a test, and a random source. */
/* SPDX-License-Identifier: MIT */
#ifndef FT_TEST_H
#define FT_TEST_H

#include "ft.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned long test_checks, test_failures;

/* Each is true where it holds; where not, it prints its place, its text and both values. */
#define CHECK(holds) test_note(holds, __FILE__, __LINE__, #holds, "false", "true")
#define CHECK_TEXT(actual, expected) test_text(actual, expected, __FILE__, __LINE__, #actual)
#define CHECK_STATUS(actual, expected) \
    test_text(ft_status_text(actual), ft_status_text(expected), __FILE__, __LINE__, #actual)
#define CHECK_U64(actual, expected) \
    test_u64((uint64_t)(actual), (uint64_t)(expected), __FILE__, __LINE__, #actual)
#define CHECK_U128(actual, expected) test_u128(actual, expected, __FILE__, __LINE__, #actual)

#define TEST_PLACE const char *file, int line, const char *what

static inline bool
test_note(bool holds, TEST_PLACE, const char *actual, const char *expected)
{
    test_checks++;
    if (!holds && ++test_failures <= 20) {
        printf("%s:%d: %s is %s, expected %s\n", file, line, what, actual, expected);
    }
    return holds;
}

static inline bool
test_text(const char *actual, const char *expected, TEST_PLACE)
{
    const char *text = actual == NULL ? "NULL" : actual;
    return test_note(strcmp(text, expected) == 0, file, line, what, text, expected);
}

static inline bool
test_u64(uint64_t actual, uint64_t expected, TEST_PLACE)
{
    char texts[2][24];
    snprintf(texts[0], sizeof texts[0], "%" PRIu64, actual);
    snprintf(texts[1], sizeof texts[1], "%" PRIu64, expected);
    return test_note(actual == expected, file, line, what, texts[0], texts[1]);
}

/* In hexadecimal halves, which does not lean on the code under test. */
static inline bool
test_u128(ft_u128 actual, ft_u128 expected, TEST_PLACE)
{
    char texts[2][40];
    snprintf(texts[0], sizeof texts[0], "0x%" PRIx64 "_%016" PRIx64, actual.hi, actual.lo);
    snprintf(texts[1], sizeof texts[1], "0x%" PRIx64 "_%016" PRIx64, expected.hi, expected.lo);
    return test_note(actual.hi == expected.hi && actual.lo == expected.lo, file, line, what,
                     texts[0], texts[1]);
}

/* The whole program: runs each test function and says how it went. */
#define TEST_MAIN(...)                                                  \
    int main(void)                                                      \
    {                                                                   \
        void (*const tests[])(void) = {__VA_ARGS__};                    \
        for (size_t i = 0; i < FT_COUNT_OF(tests); i++) {               \
            tests[i]();                                                 \
        }                                                               \
        printf("%lu checks, %lu failed\n", test_checks, test_failures); \
        return test_failures != 0 || test_checks == 0;                  \
    }

/* 31 bits of a linear congruential generator. */
static inline uint64_t
test_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

#endif
