/* Parses closed forms and evaluates them with the formulas that they name. */
/* SPDX-License-Identifier: MIT */
#include "ft_closed.h"

#include "maps/closed.h"

#include <stdlib.h>
#include <string.h>

const ft_closed_form *
ft_closed_form_at(size_t index)
{
    if (index < ft_closed_contractions_count) {
        return &ft_closed_contractions[index];
    }
    index -= ft_closed_contractions_count;
    if (index < ft_closed_others_count) {
        return &ft_closed_others[index];
    }
    index -= ft_closed_others_count;
    return index < ft_closed_models_count ? &ft_closed_models[index] : NULL;
}

static bool
ends(char c)
{
    return c == ' ' || c == '\0' || c == ')';
}

static const char *
skip_blanks(const char *text)
{
    return text + strspn(text, " ");
}

/* ---- arguments ---- */

static bool
is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

static int
word_length(const char *text)
{
    int length = 0;
    while (is_word(text[length])) {
        length++;
    }
    return length;
}

static int
find_argument(const ft_plan *plan, const char *name, int length)
{
    for (int i = 0; i < plan->argument_count; i++) {
        const ft_argument *argument = &plan->arguments[i];
        if (argument->name_length == length && strncmp(argument->name, name, (size_t)length) == 0) {
            return i;
        }
    }
    return -1;
}

static bool
parse_arguments(ft_plan *plan)
{
    const char *text = skip_blanks(plan->form->arguments);
    for (; *text != '\0'; text = skip_blanks(text)) {
        ft_argument argument = {.sign = strchr("*?!~", *text) != NULL ? *text++ : '\0'};
        argument.name = text;
        argument.name_length = word_length(text);
        text += argument.name_length;
        if (*text == '=') {
            argument.value = ++text;
            text += *text == '-';
            text += word_length(text);
            argument.value_length = (int)(text - argument.value);
        }
        if (plan->argument_count == FT_MAX_ARGUMENTS || argument.name_length == 0 || !ends(*text) ||
            find_argument(plan, argument.name, argument.name_length) >= 0) {
            return false;
        }
        plan->arguments[plan->argument_count++] = argument;
    }
    return true;
}

/* ---- products ---- */

static bool
parse_product(const ft_plan *plan, const char **text, ft_product *product)
{
    *product = (ft_product){.constant = 1, .divisor = -1};
    bool divides = false;
    for (;; ++*text) {
        int length = word_length(*text);
        int argument = find_argument(plan, *text, length);
        if (argument >= 0 && divides) {
            product->divisor = (int8_t)argument;
        }
        else if (argument >= 0 && product->count < FT_MAX_FACTORS) {
            product->factors[product->count++] = (uint8_t)argument;
        }
        else if (**text >= '0' && **text <= '9' && !divides) {
            product->constant *= strtoull(*text, NULL, 10);
        }
        else {
            return false;
        }
        *text += length;
        if (divides || (**text != '*' && **text != '/')) {
            return ends(**text);
        }
        divides = **text == '/';
    }
}

/* A number's bits; -1 is itself where the argument may be that. */
static ft_status
product_value(const ft_product *product, const int64_t *arguments, int64_t *value)
{
    if (product->count == 1 && product->constant == 1 && product->divisor < 0) {
        *value = arguments[product->factors[0]];
        return FT_OK;
    }
    ft_u128 whole = ft_u128_of(product->constant);
    for (int i = 0; i < product->count; i++) {
        whole = ft_u128_multiply(whole, ft_u128_of((uint64_t)arguments[product->factors[i]]));
    }
    if (product->divisor >= 0) {
        uint64_t rest, divisor = (uint64_t)arguments[product->divisor];
        if (divisor == 0) {
            return FT_BAD_SHAPE;
        }
        whole = ft_u128_divide(whole, divisor, &rest);
        if (rest != 0) {
            return FT_BAD_SHAPE;
        }
    }
    *value = (int64_t)whole.lo;
    return whole.hi != 0 || whole.lo > INT64_MAX ? FT_OVERFLOW : FT_OK;
}

/* ---- terms ---- */

static bool
add_slot(ft_plan *plan, const char **text, int term, int role, bool is_dimension)
{
    ft_slot slot = {.term = (uint8_t)term, .role = (uint8_t)role, .is_dimension = is_dimension};
    if (plan->slot_count == FT_MAX_SLOTS || !parse_product(plan, text, &slot.product)) {
        return false;
    }
    plan->slots[plan->slot_count++] = slot;
    return true;
}

static bool
parse_operand(ft_plan *plan, const char **text, int term, int role)
{
    if (**text == '-') {
        ++*text;
        return true;
    }
    if (**text != '(') {
        return add_slot(plan, text, term, role, false);
    }
    for (*text = skip_blanks(*text + 1); **text != ')'; *text = skip_blanks(*text)) {
        if (!add_slot(plan, text, term, role, true)) {
            return false;
        }
    }
    ++*text;
    return true;
}

static bool
parse_term(ft_plan *plan, int at)
{
    const ft_term *term = &plan->form->terms[at];
    const char *text = skip_blanks(term->operands), *times = term->times;
    int roles = ft_formula_role_count(term->formula);
    plan->times[at] = (ft_product){.constant = 1, .divisor = -1};
    for (int role = 0; role < roles; role++, text = skip_blanks(text)) {
        if (!parse_operand(plan, &text, at, role)) {
            return false;
        }
    }
    return *text == '\0' &&
           (times == NULL || (parse_product(plan, &times, &plan->times[at]) && *times == '\0'));
}

ft_status
ft_plan_parse(const ft_closed_form *form, ft_plan *plan)
{
    memset(plan, 0, sizeof *plan);
    plan->form = form;
    if (!parse_arguments(plan)) {
        return FT_BAD_SHAPE;
    }
    for (; form->terms[plan->term_count].formula != NULL; plan->term_count++) {
        if (plan->term_count == FT_MAX_TERMS || !parse_term(plan, plan->term_count)) {
            return FT_BAD_SHAPE;
        }
    }
    return FT_OK;
}

/* ---- evaluation ---- */

void
ft_filled_start(const ft_plan *plan, ft_filled *filled)
{
    filled->plan = plan;
    memset(filled->operands, 0, (size_t)plan->term_count * sizeof filled->operands[0]);
    for (int i = 0; i < plan->slot_count; i++) {
        const ft_slot *slot = &plan->slots[i];
        ft_operand *operand = &filled->operands[slot->term][slot->role];
        if (slot->is_dimension && !operand->present) {
            operand->shape.dims = &filled->dims[i];
        }
        operand->present = true;
        operand->is_number = !slot->is_dimension;
        operand->shape.ndim += slot->is_dimension;
    }
}

static bool
argument_fits(const ft_argument *argument, int64_t value)
{
    bool is_flag = argument->sign == '?' || argument->sign == '!';
    return is_flag ? value == 0 || value == 1 : value >= (argument->sign == '~' ? -1 : 0);
}

static ft_status
fill(ft_filled *filled, const int64_t *arguments)
{
    const ft_plan *plan = filled->plan;
    for (int i = 0; i < plan->argument_count; i++) {
        if (!argument_fits(&plan->arguments[i], arguments[i])) {
            return FT_BAD_SHAPE;
        }
    }
    for (int i = 0; i < plan->slot_count; i++) {
        const ft_slot *slot = &plan->slots[i];
        int64_t value;
        ft_status status = product_value(&slot->product, arguments, &value);
        if (status != FT_OK) {
            return status;
        }
        if (slot->is_dimension) {
            filled->dims[i] = value;
        }
        else {
            filled->operands[slot->term][slot->role].number = (uint64_t)value;
        }
    }
    return FT_OK;
}

ft_status
ft_filled_evaluate(ft_filled *filled, const int64_t *arguments, const ft_convention *convention,
                   ft_u128 *flops)
{
    const ft_plan *plan = filled->plan;
    ft_status status = fill(filled, arguments);
    *flops = FT_U128_ZERO;
    for (int i = 0; i < plan->term_count && status == FT_OK; i++) {
        const ft_formula *formula = plan->form->terms[i].formula;
        ft_cost cost;
        int64_t times;
        status = product_value(&plan->times[i], arguments, &times);
        if (status == FT_OK && times != 0) { /* what is not done need not fit */
            status = ft_formula_evaluate(formula, filled->operands[i], &cost);
            ft_u128 each = ft_cost_read(&cost, formula->op_class, convention);
            *flops = ft_u128_add(*flops, ft_u128_multiply(each, ft_u128_of((uint64_t)times)));
        }
    }
    return status == FT_OK && ft_u128_overflowed(*flops) ? FT_OVERFLOW : status;
}
