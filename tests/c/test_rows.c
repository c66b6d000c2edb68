/* Formulas against their own examples and bad operands, and the rows of the name maps. */
/* SPDX-License-Identifier: MIT */
#include "ft_test.h"

#define BIG ((int64_t)1 << 62)

static bool
has_text(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static const ft_formula *
formula_of(const char *name)
{
    const ft_formula *formula = ft_formula_find(name);
    if (!CHECK(formula != NULL)) {
        printf("no formula %s\n", name);
        exit(1);
    }
    return formula;
}

static ft_operand
number_operand(uint64_t number)
{
    return (ft_operand){.present = true, .is_number = true, .number = number};
}

static ft_operand
shape_operand(const int64_t *dims, int ndim)
{
    return (ft_operand){.present = true, .shape = {dims, ndim}};
}

static void
test_descriptions(void)
{
    size_t count = 0;
    const ft_formula *const *formulas = ft_formulas(&count);
    CHECK(count > 0);
    for (size_t i = 0; i < count; i++) {
        const ft_formula *formula = formulas[i];
        CHECK(has_text(formula->name) && has_text(formula->equation) && has_text(formula->source));
        CHECK(formula->evaluate != NULL);
        CHECK((int)formula->op_class >= 0 && formula->op_class < FT_CLASS_COUNT);
        CHECK(ft_formula_find(formula->name) == formula); /* so no name stands twice */
        CHECK(has_text(formula->examples[0].text));
    }
    CHECK(ft_formula_find("no_such_formula") == NULL);
    CHECK(ft_formula_find("") == NULL);
}

static void
test_roles(void)
{
    size_t count = 0;
    const ft_formula *const *formulas = ft_formulas(&count);
    for (size_t i = 0; i < count; i++) {
        int roles = ft_formula_role_count(formulas[i]);
        for (int role = 0; role < FT_MAX_ROLES; role++) {
            const ft_role *given = &formulas[i]->roles[role];
            CHECK(role < roles ? has_text(given->name) : given->name == NULL);
            CHECK((given->kind != FT_ROLE_END) == (role < roles));
            for (int other = 0; other < role && role < roles; other++) {
                CHECK(strcmp(given->name, formulas[i]->roles[other].name) != 0);
            }
        }
    }
    CHECK_U64(ft_formula_role_count(formula_of("linear")), 3);
    CHECK_U64(ft_formula_role_count(formula_of("recurrent_layers")), 8);
    CHECK_U64(ft_formula_role_count(formula_of("data_free")), 0);
}

/* What was in *cost before must not shine through. */
static ft_status
evaluate(const ft_formula *formula, const ft_operand *operands, ft_cost *cost)
{
    memset(cost, 0x77, sizeof *cost);
    return ft_formula_evaluate(formula, operands, cost);
}

static void
test_examples(void)
{
    size_t count = 0;
    const ft_formula *const *formulas = ft_formulas(&count);
    for (size_t i = 0; i < count; i++) {
        for (int j = 0; j < FT_MAX_EXAMPLES && formulas[i]->examples[j].text != NULL; j++) {
            const ft_example *example = &formulas[i]->examples[j];
            ft_cost cost;
            bool right = CHECK_STATUS(evaluate(formulas[i], example->operands, &cost), FT_OK);
            for (int kind = 0; kind < FT_KIND_COUNT && right; kind++) {
                right = CHECK_U128(cost.by_kind[kind], example->cost.by_kind[kind]) && right;
            }
            if (!right) {
                printf("in %s: %s\n", formulas[i]->name, example->text);
            }
            for (int role = ft_formula_role_count(formulas[i]); role < FT_MAX_ROLES; role++) {
                CHECK(!example->operands[role].present); /* no operand without a role */
            }
        }
    }
}

/* The first example of a formula with the operand of one role replaced. */
static ft_status
replaced(const ft_formula *formula, int role, ft_operand operand)
{
    ft_operand operands[FT_MAX_ROLES];
    ft_cost cost;
    memcpy(operands, formula->examples[0].operands, sizeof operands);
    operands[role] = operand;
    return evaluate(formula, operands, &cost);
}

static void
check_bad_operands(const ft_formula *formula, int role)
{
    static const int64_t negative[] = {2, -1}, zeros[FT_MAX_DIMS + 1] = {0};
    ft_role_kind kind = formula->roles[role].kind;
    ft_operand absent = {.present = false};
    ft_status bad = FT_BAD_SHAPE;
    if (kind == FT_OPTIONAL || kind == FT_INTEGERS ||
        kind == FT_LIMITS) { /* what it stands for says the formula */
        CHECK(replaced(formula, role, absent) != FT_OVERFLOW);
    }
    else {
        CHECK_STATUS(replaced(formula, role, absent), kind == FT_FLAG ? FT_OK : bad);
    }
    CHECK_STATUS(replaced(formula, role, shape_operand(negative, 2)),
                 kind == FT_LIMITS ? FT_OK : bad);
    CHECK_STATUS(replaced(formula, role, shape_operand(NULL, -1)), bad);
    if (kind != FT_INTEGERS) {
        CHECK_STATUS(replaced(formula, role, shape_operand(zeros, FT_MAX_DIMS + 1)), bad);
    }
    if (kind == FT_TENSOR || kind == FT_INTEGERS) { /* the wrong kind of operand */
        CHECK_STATUS(replaced(formula, role, number_operand(1)), bad);
    }
    if (kind == FT_NUMBER || kind == FT_FLAG) {
        CHECK_STATUS(replaced(formula, role, shape_operand(zeros, 1)), bad);
    }
    if (kind == FT_SIZES) { /* takes both */
        CHECK_STATUS(replaced(formula, role, number_operand(1)), FT_OK);
        CHECK_STATUS(replaced(formula, role, shape_operand(zeros, 2)), FT_OK);
    }
}

static void
test_bad_operands(void)
{
    size_t count = 0;
    const ft_formula *const *formulas = ft_formulas(&count);
    for (size_t i = 0; i < count; i++) {
        for (int role = 0; role < ft_formula_role_count(formulas[i]); role++) {
            check_bad_operands(formulas[i], role);
        }
    }
}

/* A flag that is not there is 0: the bias of Linear(64, 64) on 20 rows goes, 81920 mac stay. */
static void
test_absent_flag(void)
{
    const ft_formula *linear = formula_of("linear");
    static const int64_t output[] = {2, 10, 64};
    ft_operand operands[FT_MAX_ROLES] = {shape_operand(output, 3), number_operand(64)};
    ft_cost cost;
    for (uint64_t left_behind = 0; left_behind < 2;
         left_behind++) { /* what it holds plays no part */
        operands[2].number = left_behind;
        CHECK_STATUS(evaluate(linear, operands, &cost), FT_OK);
        CHECK_U128(cost.by_kind[FT_MAC], ft_u128_of(81920));
        CHECK_U128(cost.by_kind[FT_BIAS], FT_U128_ZERO);
    }
}

/* Sizes that are legal one by one but do not fit together. */
static void
test_bad_combinations(void)
{
    static const int64_t dims[] = {2, 3, 4, 5};
    const ft_formula *conv = formula_of("conv"), *layer = formula_of("attention_layer");
    const ft_formula *softmax = formula_of("attention_softmax");
    const ft_formula *recurrent = formula_of("recurrent_layers");
    const ft_formula *pool = formula_of("adaptive_avg_pool_table");
    CHECK_STATUS(replaced(conv, 3, number_operand(0)), FT_BAD_SHAPE);  /* no groups */
    CHECK_STATUS(replaced(conv, 3, number_operand(2)), FT_BAD_SHAPE);  /* 3 channels in 2 groups */
    CHECK_STATUS(replaced(layer, 4, number_operand(0)), FT_BAD_SHAPE); /* no heads */
    CHECK_STATUS(replaced(layer, 4, number_operand(5)), FT_BAD_SHAPE); /* width 64 in 5 heads */
    for (int ndim = 0; ndim <= 4; ndim++) { /* the query has 3 dimensions, and the key as many */
        ft_status expected = ndim == 3 ? FT_OK : FT_BAD_SHAPE;
        CHECK_STATUS(replaced(layer, 0, shape_operand(dims, ndim)), expected);
        CHECK_STATUS(replaced(layer, 1, shape_operand(dims, ndim)), expected);
        CHECK_STATUS(replaced(softmax, 0, shape_operand(dims, ndim)), expected);
        CHECK_STATUS(replaced(softmax, 1, shape_operand(dims, ndim)), expected);
    }
    CHECK_STATUS(replaced(recurrent, 0, shape_operand(dims, 0)), FT_BAD_SHAPE);
    CHECK_STATUS(replaced(recurrent, 0, shape_operand(dims, 1)), FT_OK);
    CHECK_STATUS(replaced(pool, 0, shape_operand(dims, 3)), FT_BAD_SHAPE); /* 3 to 4 dimensions */
    CHECK_STATUS(replaced(pool, 2, number_operand(5)), FT_BAD_SHAPE);      /* 5 of 4 dimensions */
    CHECK_STATUS(replaced(pool, 2, number_operand(BIG)), FT_BAD_SHAPE);
    CHECK_STATUS(replaced(pool, 2, number_operand(4)), FT_OK);
}

/* 2^62 * 2^62 = 2^124 outputs: 15 * 2^124 still fits, 16 * 2^124 = 2^128 does not. */
static void
test_overflow(void)
{
    static const int64_t dims[] = {BIG, BIG};
    const ft_formula *linear = formula_of("linear");
    ft_operand operands[FT_MAX_ROLES] = {shape_operand(dims, 2), number_operand(BIG)};
    ft_cost cost;
    CHECK_STATUS(evaluate(linear, operands, &cost), FT_OVERFLOW);
    operands[1] = number_operand(16);
    CHECK_STATUS(evaluate(linear, operands, &cost), FT_OVERFLOW);
    operands[1] = number_operand(15);
    CHECK_STATUS(evaluate(linear, operands, &cost), FT_OK);
    CHECK_U128(cost.by_kind[FT_MAC], ((ft_u128){0, (uint64_t)15 << 60}));
    CHECK_U128(cost.by_kind[FT_DOT], ((ft_u128){0, (uint64_t)1 << 60}));
}

/* Every other formula that counts anything: the first operand made of three times 2^62. */
static void
test_overflow_everywhere(void)
{
    static const int64_t dims[] = {BIG, BIG, BIG, BIG};
    static const char *const per_output[] = {"linear",         "bilinear",
                                             "conv",           "conv_transpose_output",
                                             "norm_table",     "flops_profiler_table",
                                             "softmax_table",  "avg_pool_table",
                                             "resample_table", "recurrent_layers"};
    for (size_t i = 0; i < FT_COUNT_OF(per_output); i++) {
        CHECK_STATUS(replaced(formula_of(per_output[i]), 0, shape_operand(dims, 4)), FT_OVERFLOW);
    }
    CHECK_STATUS(replaced(formula_of("attention_layer"), 0, shape_operand(dims, 3)), FT_OVERFLOW);
    CHECK_STATUS(replaced(formula_of("attention_softmax"), 0, shape_operand(dims, 3)), FT_OVERFLOW);
    CHECK_STATUS(replaced(formula_of("adaptive_avg_pool_table"), 1, shape_operand(dims, 4)),
                 FT_OVERFLOW);
    CHECK_STATUS(replaced(formula_of("data_free"), 0, shape_operand(dims, 4)), FT_OK);
}

/* Which sources name an argument; for the others the name is left out. */
static bool
takes_name(ft_source_kind kind)
{
    return kind != FT_FROM_OUTPUT && kind != FT_FROM_CONSTANT && kind != FT_FROM_AXES;
}

static bool
is_yes_or_no(ft_source_kind kind)
{
    return kind == FT_FROM_PRESENCE || kind == FT_FROM_SCALE || kind == FT_FROM_NONZERO ||
           kind == FT_FROM_EQUALS || kind == FT_FROM_INFINITE || kind == FT_FROM_TEXT ||
           kind == FT_FROM_OPTION;
}

static void
check_source(const ft_source *source, ft_role_kind role)
{
    bool is_shape = source->kind == FT_FROM_INPUT || source->kind == FT_FROM_OUTPUT;
    bool may_be_absent =
        role == FT_FLAG || role == FT_OPTIONAL || role == FT_INTEGERS || role == FT_LIMITS;
    if (source->kind == FT_FROM_INPUT && source->name == NULL) { /* an option that it has not */
        CHECK(may_be_absent);
        return;
    }
    CHECK(!takes_name(source->kind) || has_text(source->name));
    CHECK(source->index >= 0);
    bool wants_shape = role == FT_TENSOR || role == FT_ELEMENTS || role == FT_STORED;
    bool entries = role == FT_ELEMENTS && source->kind == FT_FROM_ENTRIES;
    CHECK(is_shape == wants_shape || role == FT_OPTIONAL || entries); /* only tensors have them */
    CHECK(!is_yes_or_no(source->kind) || may_be_absent || role == FT_NUMBER);
    if (role == FT_FLAG && source->kind == FT_FROM_CONSTANT) {
        CHECK(source->index == 0 || source->index == 1);
    }
}

/* Lists are counted by all of their elements together. */
static void
test_proportion(void)
{
    size_t count = 0, found = 0;
    const ft_formula *const *formulas = ft_formulas(&count);
    for (size_t i = 0; i < count; i++) {
        for (int j = 0; j < FT_MAX_EXAMPLES && formulas[i]->examples[j].text != NULL; j++) {
            ft_operand operands[FT_MAX_ROLES];
            ft_cost one, seven;
            memcpy(operands, formulas[i]->examples[j].operands, sizeof operands);
            if (formulas[i]->roles[0].kind != FT_ELEMENTS) {
                continue;
            }
            found++;
            operands[0] = (ft_operand)FT_NUMBER_OF(1);
            CHECK_STATUS(evaluate(formulas[i], operands, &one), FT_OK);
            operands[0].number = 7;
            CHECK_STATUS(evaluate(formulas[i], operands, &seven), FT_OK);
            for (int kind = 0; kind < FT_KIND_COUNT; kind++) {
                CHECK_U128(seven.by_kind[kind], ft_u128_multiply(one.by_kind[kind], ft_u128_of(7)));
            }
        }
    }
    CHECK(found > 0);
}

static void
test_map_rows(void)
{
    ft_registry registry;
    CHECK_STATUS(ft_registry_init(&registry, ft_allocator_libc()), FT_OK);
    CHECK(registry.count > 0);
    for (size_t i = 0; i < registry.count; i++) {
        const ft_map_row *row = registry.rows[i];
        unsigned long failures = test_failures;
        CHECK(has_text(row->name));
        CHECK(row->formula != NULL && ft_formula_find(row->formula->name) == row->formula);
        CHECK(row->flags < 2 * FT_ROW_ARGUMENT); /* the last of them */
        int roles = ft_formula_role_count(row->formula);
        for (int role = 0; role < FT_MAX_ROLES; role++) {
            const ft_source *source = &row->sources[role];
            if (role < roles) {
                check_source(source, row->formula->roles[role].kind);
            }
            else { /* nothing is left over */
                CHECK(source->kind == FT_FROM_INPUT && source->index == 0 && source->name == NULL);
            }
        }
        if (test_failures != failures) {
            printf("in the row of %s\n", row->name);
        }
    }
    ft_registry_clear(&registry);
}

TEST_MAIN(test_descriptions, test_roles, test_examples, test_bad_operands, test_absent_flag,
          test_bad_combinations, test_overflow, test_overflow_everywhere, test_proportion,
          test_map_rows)
