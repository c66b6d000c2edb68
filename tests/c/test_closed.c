/* Closed forms: their text, their examples, bad arguments, and many points at once. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"

static ft_plan plan;
static ft_filled filled;
static uint64_t state = 1;

static void
start(const ft_closed_form *form)
{
    if (!CHECK_STATUS(ft_plan_parse(form, &plan), FT_OK)) {
        printf("in %s\n", form->name);
    }
    ft_filled_start(&plan, &filled);
}

static const ft_closed_form *
form_named(const char *name)
{
    for (size_t i = 0; ft_closed_form_at(i) != NULL; i++) {
        if (strcmp(ft_closed_form_at(i)->name, name) == 0) {
            return ft_closed_form_at(i);
        }
    }
    printf("no form %s\n", name);
    exit(1);
}

static int
read_numbers(const char *text, int64_t *numbers)
{
    int count = 0;
    for (char *end; *text != '\0'; text = end) {
        numbers[count++] = strtoll(text, &end, 10);
    }
    return count;
}

/* Every form is written right, and gives what its formula's worked example says. */
static void
test_forms(void)
{
    size_t conventions;
    const ft_convention *convention = ft_conventions(&conventions);
    for (size_t i = 0; ft_closed_form_at(i) != NULL; i++) {
        const ft_closed_form *form = ft_closed_form_at(i);
        CHECK(form_named(form->name) == form); /* so no name stands twice */
        start(form);
        for (int j = 1; j < plan.argument_count; j++) { /* as a Python function's */
            CHECK(plan.arguments[j].value != NULL || plan.arguments[j - 1].value == NULL);
        }
        if (form->example == NULL) {
            continue;
        }
        int64_t arguments[FT_MAX_ARGUMENTS];
        CHECK_U64(read_numbers(form->example, arguments), plan.argument_count);
        const ft_formula *formula = form->terms[0].formula;
        bool found = false;
        for (int j = 0; j < FT_MAX_EXAMPLES && formula->examples[j].text != NULL; j++) {
            bool same = true;
            for (size_t k = 0; k < conventions; k++) {
                ft_u128 flops;
                CHECK_STATUS(ft_filled_evaluate(&filled, arguments, &convention[k], &flops), FT_OK);
                same = same &&
                       ft_u128_compare(flops, ft_cost_read(&formula->examples[j].cost,
                                                           formula->op_class, &convention[k])) == 0;
            }
            found = found || same;
        }
        if (!CHECK(found)) {
            printf("in %s\n", form->name);
        }
    }
}

/* All formulas have a form but those that always give 0, and the masks of flex.c, which are lists.
 */
static void
test_every_formula_has_one(void)
{
    size_t count;
    const ft_formula *const *formulas = ft_formulas(&count);
    for (size_t i = 0; i < count; i++) {
        bool found = false;
        for (size_t j = 0; ft_closed_form_at(j) != NULL; j++) {
            const ft_closed_form *form = ft_closed_form_at(j);
            found =
                found || (form->terms[0].formula == formulas[i] && form->terms[1].formula == NULL);
        }
        bool exception =
            formulas[i]->roles[0].kind == FT_ROLE_END || strncmp(formulas[i]->name, "flex", 4) == 0;
        if (!CHECK(found != exception)) {
            printf("in %s\n", formulas[i]->name);
        }
    }
}

#define FORM(arguments_, operands_, times_)                                            \
    &(const ft_closed_form){                                                           \
        .name = "form",                                                                \
        .arguments = arguments_,                                                       \
        .terms = (const ft_term[]){{ft_formula_find("sgd_linear"), operands_, times_}, \
                                   {NULL, NULL, NULL}}}

static void
test_bad_text(void)
{
    CHECK_STATUS(ft_plan_parse(FORM("a b=1", "a b 2*a*b/a", "a*3"), &plan), FT_OK);
    CHECK_U64(plan.argument_count, 2);
    static const char *const arguments[] = {"a a", "a A", "a +b", "a =1", "a b= c"};
    for (size_t i = 0; i + 1 < FT_COUNT_OF(arguments); i++) {
        CHECK_STATUS(ft_plan_parse(FORM(arguments[i], "a a a", NULL), &plan), FT_BAD_SHAPE);
    }
    static const char *const operands[] = {"a a",   "a a a a", "a a b",  "a a a*",    "a a a/2",
                                           "a a (", "a a (b)", "a a *a", "a a a/a*a", "a a (a"};
    for (size_t i = 0; i < FT_COUNT_OF(operands); i++) {
        if (!CHECK_STATUS(ft_plan_parse(FORM("a", operands[i], NULL), &plan), FT_BAD_SHAPE)) {
            printf("%s\n", operands[i]);
        }
    }
    CHECK_STATUS(ft_plan_parse(FORM("a", "a a a", "b"), &plan), FT_BAD_SHAPE);
    CHECK_STATUS(ft_plan_parse(FORM("a", "a a a", "a a"), &plan), FT_BAD_SHAPE);
    CHECK_STATUS(ft_plan_parse(FORM("a b c d e f g h i j k l m n o p q r s t u v w x y z aa bb cc",
                                    "a a a", NULL),
                               &plan),
                 FT_BAD_SHAPE); /* 29 */
}

static ft_status
evaluate(const char *name, const char *text, ft_u128 *flops)
{
    int64_t arguments[FT_MAX_ARGUMENTS];
    start(form_named(name));
    CHECK_U64(read_numbers(text, arguments), plan.argument_count);
    return ft_filled_evaluate(&filled, arguments, ft_convention_find("standard"), flops);
}

static void
test_bad_arguments(void)
{
    ft_u128 flops;
    CHECK_STATUS(evaluate("linear", "-1 2 3 0", &flops), FT_BAD_SHAPE);
    CHECK_STATUS(evaluate("linear", "1 2 3 2", &flops), FT_BAD_SHAPE); /* a flag */
    CHECK_STATUS(evaluate("linear", "0 2 3 1", &flops), FT_OK);
    CHECK_U128(flops, FT_U128_ZERO);
    CHECK_STATUS(evaluate("conv2d", "1 3 4 5 5 3 3 2 0", &flops), FT_BAD_SHAPE); /* 3 in 2 groups */
    CHECK_STATUS(evaluate("convolution", "1 3 4 25 9 2 0", &flops), FT_BAD_SHAPE);
    CHECK_STATUS(evaluate("convolution", "1 3 4 25 9 0 0", &flops), FT_BAD_SHAPE);
    CHECK_STATUS(evaluate("pair_distance", "6 4 -1", &flops), FT_OK);
    CHECK_STATUS(evaluate("pair_distance", "6 4 -2", &flops), FT_BAD_SHAPE);
    /* 2^62 * 4 * 2 is past 64 bits, and 2^62 cubed past 128 */
    CHECK_STATUS(evaluate("linear", "4611686018427387904 4 1 0", &flops), FT_OK);
    CHECK_U128(flops, ((ft_u128){0, 2}));
    CHECK_STATUS(
        evaluate("linear", "4611686018427387904 4611686018427387904 4611686018427387904 0", &flops),
        FT_OVERFLOW);
    /* Products of arguments: more than 63 bits are no size. */
    CHECK_STATUS(evaluate("rnn_forward", "1 1 1 4611686018427387904 1 0 1 1 2 1 1 1", &flops),
                 FT_OVERFLOW);
}

/* Where a form says that it is linear, the polynomial gives what each point gives. */
static void
check_points(const ft_closed_form *form, const ft_convention *convention)
{
    enum { POINTS = 40 };
    int64_t arguments[FT_MAX_ARGUMENTS], columns[FT_MAX_VARYING][POINTS], found[POINTS];
    const int64_t *pointers[FT_MAX_VARYING];
    ft_polynomial polynomial = {.varying = 0};
    for (int i = 0; i < plan.argument_count; i++) {
        char sign = plan.arguments[i].sign;
        arguments[i] = sign == '!' ? 0 : (int64_t)(test_random(&state) % (sign == '?' ? 2 : 5));
        if (sign == '*' && polynomial.varying < FT_MAX_VARYING && test_random(&state) % 2) {
            bool shares = polynomial.columns > 0 && test_random(&state) % 4 == 0;
            polynomial.column_of[polynomial.varying] =
                (uint8_t)(shares ? polynomial.columns - 1 : polynomial.columns++);
            polynomial.arguments[polynomial.varying++] = (uint8_t)i;
        }
    }
    for (int j = 0; j < polynomial.columns; j++) {
        pointers[j] = columns[j];
        for (int i = 0; i < POINTS; i++) {
            columns[j][i] = (int64_t)(1 + test_random(&state) % 50);
        }
    }
    int64_t copy[FT_MAX_ARGUMENTS];
    memcpy(copy, arguments, sizeof copy);
    if (!ft_polynomial_make(&filled, copy, convention, &polynomial) ||
        !CHECK(ft_polynomial_evaluate(&polynomial, pointers, POINTS, found))) {
        return;
    }
    for (int i = 0; i < POINTS; i++) {
        for (int j = 0; j < polynomial.varying; j++) {
            arguments[polynomial.arguments[j]] = columns[polynomial.column_of[j]][i];
        }
        ft_u128 flops;
        CHECK_STATUS(ft_filled_evaluate(&filled, arguments, convention, &flops), FT_OK);
        if (!CHECK_U128(ft_u128_of((uint64_t)found[i]), flops)) {
            printf("in %s\n", form->name);
            return;
        }
    }
}

static void
test_many_points(void)
{
    size_t conventions;
    const ft_convention *convention = ft_conventions(&conventions);
    for (size_t i = 0; ft_closed_form_at(i) != NULL; i++) {
        start(ft_closed_form_at(i));
        for (int round = 0; round < 100; round++) {
            check_points(ft_closed_form_at(i), &convention[(size_t)round % conventions]);
        }
    }
}

static void
test_points_that_are_left_to_the_formulas(void)
{
    const ft_convention *standard = ft_convention_find("standard");
    ft_polynomial polynomial = {.varying = 1, .columns = 1};
    int64_t linear[] = {9, 3, 4, 0}, flops[2] = {7, 7};
    start(form_named("linear"));
    CHECK(ft_polynomial_make(&filled, linear, standard, &polynomial)); /* 24 n */
    const int64_t good[] = {1, (int64_t)1 << 57}, zero[] = {1, 0}, negative[] = {INT64_MIN, 1};
    const int64_t large[] = {(int64_t)1 << 59, 1};
    CHECK(!ft_polynomial_evaluate(&polynomial, (const int64_t *[]){zero}, 2, flops));
    CHECK(!ft_polynomial_evaluate(&polynomial, (const int64_t *[]){negative}, 2, flops));
    CHECK(!ft_polynomial_evaluate(&polynomial, (const int64_t *[]){large}, 2, flops));
    CHECK_U64(flops[0], 7);
    CHECK(ft_polynomial_evaluate(&polynomial, (const int64_t *[]){good}, 2, flops));
    CHECK_U64(flops[0], 24);
    CHECK_U64(flops[1], (uint64_t)24 << 57);
    linear[1] = (int64_t)1 << 60; /* coefficients would be too large */
    CHECK(!ft_polynomial_make(&filled, linear, standard, &polynomial));
    int64_t conv[] = {1, 4, 4, 5, 5, 3, 3, 2, 0};
    start(form_named("conv2d"));
    polynomial.arguments[0] = 7; /* groups */
    CHECK(!ft_polynomial_make(&filled, conv, standard, &polynomial));
    int64_t causal[] = {1, 1, 1, 8, 16, 8, 1, 1, 0};
    start(form_named("sdpa"));
    polynomial.arguments[0] = 0;
    CHECK(!ft_polynomial_make(&filled, causal, standard, &polynomial));
}

TEST_MAIN(test_forms, test_every_formula_has_one, test_bad_text, test_bad_arguments,
          test_many_points, test_points_that_are_left_to_the_formulas)
